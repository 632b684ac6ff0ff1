"""The pod subresources that write: binding to a node, and eviction within disruption budgets."""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.errors import Cause, Subject, bad_request, conflict, too_many_requests
from agentpool_devcluster.api.objects import Json, clone, dig, labels_of, metadata, timestamp
from agentpool_devcluster.api.operations.cluster import Cluster, WriteOptions, Written
from agentpool_devcluster.api.operations.deletion import Deleted, DeleteOptions, delete
from agentpool_devcluster.api.operations.writes import finish
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.selectors import selector_matches
from agentpool_devcluster.api.store import CollectionKey

_BUDGETS = CollectionKey("policy", "poddisruptionbudgets")


def bind(
    cluster: Cluster, resource: Resource, namespace: str, name: str, *, body: Any, options: WriteOptions
) -> Written:
    """Assign a pod to a node. Raises a 409 refusal if already assigned or deleted."""
    node = dig(body, "target", "name")
    if not node or dig(body, "target", "kind") not in (None, "", "Node"):
        raise bad_request("target.name must name a Node")
    old = cluster.read(resource, namespace, name)
    subject = Subject(group="", kind="pods/binding", name=name)
    if metadata(old.body).get("deletionTimestamp"):
        raise conflict(subject, f"pod {name} is being deleted, cannot be assigned to a host")
    assigned = dig(old.body, "spec", "nodeName")
    if assigned:
        raise conflict(subject, f"pod {name} is already assigned to node {assigned!r}")
    new: Json = clone(old.body)
    new["spec"]["nodeName"] = node
    new["metadata"].pop("resourceVersion", None)
    written = finish(cluster, resource, old, new, options=options)
    if options.dry_run:
        return written
    return _mark_scheduled(cluster, resource, written)


def _mark_scheduled(cluster: Cluster, resource: Resource, written: Written) -> Written:
    body: Json = clone(written.stored.body)
    status = body.setdefault("status", {})
    conditions = [item for item in status.get("conditions") or [] if item.get("type") != "PodScheduled"]
    conditions.append({
        "type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp(),
    })  # fmt: skip
    status["conditions"] = conditions
    key = resource.key(str(metadata(body)["namespace"]), str(metadata(body)["name"]))
    return Written(stored=cluster.store.put(key, body))


def evict(cluster: Cluster, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Deleted:
    """Delete a pod unless a disruption budget forbids the deletion. Raises a 429 refusal that names the budget."""
    pod = cluster.read(resource, namespace, name)
    for _, budget, stored in cluster.store.collection(_BUDGETS).items(namespace):
        if not selector_matches(dig(stored.body, "spec", "selector"), labels_of(pod.body)):
            continue
        if not dig(stored.body, "status", "disruptionsAllowed"):
            cause = Cause(
                reason="DisruptionBudget",
                message=f"The disruption budget {budget} needs "
                f"{dig(stored.body, 'status', 'desiredHealthy') or 0} healthy pods and has "
                f"{dig(stored.body, 'status', 'currentHealthy') or 0} currently",
            )
            raise too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", causes=[cause])
    return delete(cluster, resource, namespace, name, options)
