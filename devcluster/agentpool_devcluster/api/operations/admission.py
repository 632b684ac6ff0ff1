"""Admission of a pod: its service account and its priority class must exist, and the account's token is mounted.

The API server refuses the pod (403), and the Deployment reports `ReplicaFailure`, as on a Kubernetes server.
"""

from __future__ import annotations

from agentpool_devcluster.api.errors import forbidden
from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.operations.api_access import mount_api_access
from agentpool_devcluster.api.operations.cluster import Cluster
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.store import Stored


def admit(cluster: Cluster, resource: Resource, namespace: str, body: Json) -> None:
    """Set priority and token of a new pod, in place. Raises the 403 refusal for names that do not exist."""
    spec = body.get("spec")
    if (resource.group, resource.plural) != ("", "pods") or not isinstance(spec, dict):
        return
    subject = resource.subject(str(body["metadata"].get("name", "")))
    account = str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "default")
    found = _found(cluster, "", "serviceaccounts", namespace, account)
    if found is None:
        why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
        raise forbidden(subject, why)
    mount_api_access(spec, found.body)
    name = spec.get("priorityClassName")
    if not name:
        return
    chosen = _found(cluster, "scheduling.k8s.io", "priorityclasses", "", str(name))
    if chosen is None:
        raise forbidden(subject, f"no PriorityClass with name {name} was found")
    spec["priority"] = chosen.body.get("value", 0)


def _found(cluster: Cluster, group: str, plural: str, namespace: str, name: str) -> Stored | None:
    resource = cluster.registry.find(group, "v1", plural)
    return None if resource is None else cluster.store.get(resource.key(namespace, name))
