"""The ReplicaSets of a Deployment as its history: current, next, and expired revisions. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentpool_devcluster.controllers.pod_state import is_finished
from agentpool_devcluster.controllers.pod_template import TEMPLATE_HASH, same_template, template_hash
from agentpool_devcluster.controllers.rollout import Revision, wanted_replicas
from agentpool_devcluster.kube.objects import (
    KubeObject,
    annotations_of,
    controller_of,
    controller_reference,
    copy_of,
    is_terminating,
    name_of,
    namespace_of,
    uid_of,
)
from agentpool_devcluster.kube.resources import DEPLOYMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
CEILING = "deployment.kubernetes.io/max-replicas"

DEFAULT_HISTORY = 10  # old revisions kept

# Annotations that describe the Deployment and mean nothing on a ReplicaSet.
_NOT_COPIED = frozenset({"kubectl.kubernetes.io/last-applied-configuration", REVISION, DESIRED, CEILING})


def by_age(replica_sets: Sequence[KubeObject]) -> list[KubeObject]:
    """Return the ReplicaSets, oldest first."""
    return sorted(replica_sets, key=lambda one: (one["metadata"].get("creationTimestamp") or "", name_of(one)))


def current_of(deployment: KubeObject, replica_sets: Sequence[KubeObject]) -> KubeObject | None:
    """Return the oldest ReplicaSet that makes the pods of the Deployment; None if not created yet."""
    template = deployment["spec"].get("template") or {}
    matching = [one for one in by_age(replica_sets) if same_template(one["spec"].get("template") or {}, template)]
    return matching[0] if matching else None


def revision_number(obj: Mapping[str, Any]) -> int:
    """Return the revision number of an object; 0 if not set."""
    text = annotations_of(obj).get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def next_revision(replica_sets: Sequence[KubeObject], current: KubeObject | None) -> int:
    """Return the number of the current revision: the highest number plus one."""
    others = [one for one in replica_sets if current is None or uid_of(one) != uid_of(current)]
    highest = max((revision_number(one) for one in others), default=0)
    return max(highest + 1, revision_number(current) if current else 0)


def copied_annotations(deployment: KubeObject) -> dict[str, str]:
    """Return the Deployment's annotations that its ReplicaSets carry too."""
    return {name: value for name, value in annotations_of(deployment).items() if name not in _NOT_COPIED}


def size_annotations(wanted: int, ceiling: int) -> dict[str, str]:
    """Return the annotations that record the Deployment's size on a ReplicaSet, for a later proportional change."""
    return {DESIRED: str(wanted), CEILING: str(ceiling)}


def new_replica_set(deployment: KubeObject, *, replicas: int, annotations: Mapping[str, str]) -> KubeObject:
    """Return the ReplicaSet of the Deployment's present template."""
    spec = deployment["spec"]
    template = copy_of(spec.get("template") or {})
    collisions = int((deployment.get("status") or {}).get("collisionCount") or 0)
    digest = template_hash(template, collisions)
    metadata = template.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), TEMPLATE_HASH: digest}
    selector = copy_of(spec.get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), TEMPLATE_HASH: digest}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name_of(deployment)}-{digest}",
            "namespace": namespace_of(deployment),
            "labels": dict(metadata["labels"]),
            "annotations": {**copied_annotations(deployment), **annotations},
            "ownerReferences": [controller_reference(deployment, DEPLOYMENTS)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": int(spec.get("minReadySeconds") or 0),
            "selector": selector,
            "template": template,
        },
    }


def is_size_changed(deployment: KubeObject, replica_sets: Sequence[KubeObject]) -> bool:
    """Return whether `spec.replicas` moved since the live ReplicaSets were last scaled."""
    wanted = str(wanted_replicas(deployment["spec"]))
    live = [one for one in replica_sets if wanted_replicas(one["spec"]) > 0]
    return any(annotations_of(one).get(DESIRED, wanted) != wanted for one in live)


def view(replica_set: KubeObject, pods: Sequence[KubeObject]) -> Revision:
    """Return a ReplicaSet as the rollout arithmetic reads it; `pods` are the namespace's."""
    ceiling = annotations_of(replica_set).get(CEILING, "0")
    uid = uid_of(replica_set)
    living = [pod for pod in pods if (controller_of(pod) or {}).get("uid") == uid and not is_finished(pod)]
    return Revision(
        name=name_of(replica_set),
        wanted=wanted_replicas(replica_set["spec"]),
        available=int((replica_set.get("status") or {}).get("availableReplicas") or 0),
        pods=len(living),
        ceiling=int(ceiling) if ceiling.isdecimal() else 0,
    )


def forgotten(deployment: KubeObject, old: Sequence[KubeObject]) -> list[KubeObject]:
    """Return the old revisions beyond `revisionHistoryLimit`, which may be deleted: empty, at rest, oldest first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    kept = DEFAULT_HISTORY if limit is None else int(limit)
    resting = [one for one in old if _is_resting(one)]
    surplus = max(len(resting) - kept, 0)
    return sorted(resting, key=revision_number)[:surplus]


def _is_resting(replica_set: KubeObject) -> bool:
    status = replica_set.get("status") or {}
    observed = int(status.get("observedGeneration") or 0) >= int(replica_set["metadata"].get("generation") or 0)
    empty = not status.get("replicas") and wanted_replicas(replica_set["spec"]) == 0
    return observed and empty and not is_terminating(replica_set)
