"""Data of the cluster about a pool, in addition to the queue: replicas, limits, reasons, and logs of workers.

Changes a single field: `spec.paused`. A pool without an AgentPool (a worker run by hand), or a gateway without a
cluster, has no scaling to report; its queue is paused directly.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from agentpool_core.documents import Document
from agentpool_core.errors import SettingError, UnknownPoolError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.kube.client import Cluster, Object
from agentpool_core.kube.errors import InvalidObjectError, NotThereError
from agentpool_core.pausing import set_queue_paused, set_spec_paused
from agentpool_core.process.cancellation import results_of
from agentpool_core.spec.pool import API_VERSION, KIND

if TYPE_CHECKING:
    from agentpool_core.queue import Inspector

CONTAINER = "worker"  # of the pods
LOG_BYTES = 262_144  # of a pod's log, at most
MANAGER = "agentpool-gateway"  # field manager of the gateway's changes
_CONTROLLERS = (  # of a worker's pod, each the controller of the object before it
    ("apps/v1", "ReplicaSet", paths.replica_sets),
    ("apps/v1", "Deployment", paths.deployments),
    (API_VERSION, KIND, paths.agentpools),
)
_COUNTS = {
    "replicas": "replicas",
    "ready_replicas": "readyReplicas",
    "desired_replicas": "desiredReplicas",
    "wanted_replicas": "wantedReplicas",
}


class PoolResources:
    """The AgentPools, as far as there is a cluster to ask."""

    def __init__(self, cluster: Cluster | None) -> None:
        self._cluster = cluster

    async def scaling(self, pool: PoolRef) -> Document:
        """Return a pool's desired and current replicas, and their limit. Raises ClusterError."""
        found = await self._find(pool)
        return {"pool": str(pool), "declared": found is not None} | (scaling_document(found) if found else {})

    async def scaling_of_all(self, namespaces: Collection[str]) -> dict[PoolRef, Document]:
        """Return the scaling of all declared pools, of these namespaces or, if none is named, of all."""
        if self._cluster is None:
            return {}
        lists = await results_of(self._cluster.agentpools(place) for place in namespaces or (None,))
        found = [resource for resources in lists for resource in resources]
        return {_ref_of(resource): scaling_document(resource) for resource in found}

    async def pause(self, pool: PoolRef, inspector: Inspector, *, paused: bool) -> None:
        """Stop new claims, or allow them again; running jobs finish. Raises ClusterError or QueueError."""
        declared = self._cluster is not None and await set_spec_paused(
            pool, paused=paused, cluster=self._cluster, manager=MANAGER
        )
        if not declared:
            await set_queue_paused(pool, paused=paused, inspector=inspector)

    async def worker_log(self, pool: PoolRef, worker: str, *, lines: int) -> str | None:
        """Return the newest lines of the log of a worker's pod; None: no such pod of the pool has a log here.

        Raises ForbiddenError if the gateway may not read logs, or another ClusterError.
        """
        if self._cluster is None:
            return None
        try:
            pod = await self._cluster.get(paths.pods(pool.namespace, worker))
            if not await _belongs_to(pool, pod, self._cluster):
                return None
            return await _newest_lines(self._cluster, paths.pods(pool.namespace, worker, "log"), lines)
        except (NotThereError, InvalidObjectError, SettingError):  # not started, or a name that no pod can have
            return None

    async def _find(self, pool: PoolRef) -> Object | None:
        if self._cluster is None:
            return None
        try:
            return await self._cluster.agentpool(pool)
        except UnknownPoolError:
            return None


async def _belongs_to(pool: PoolRef, pod: Object, cluster: Cluster) -> bool:
    """Return whether the controllers of a pod lead to the AgentPool; a label is no proof, as pods can be changed."""
    found = pod
    for api_version, kind, path_of in _CONTROLLERS:
        owners = found["metadata"].get("ownerReferences") or []
        owner: Object = next((each for each in owners if each.get("controller")), {})
        if (owner.get("apiVersion"), owner.get("kind")) != (api_version, kind):
            return False
        found = await cluster.get(path_of(pool.namespace, owner["name"]))
        if found["metadata"]["uid"] != owner["uid"]:
            return False
    return bool(found["metadata"]["name"] == pool.name)


async def _newest_lines(cluster: Cluster, path: str, lines: int) -> str:
    """Return the newest lines of a log; fewer if they are long, because the API server cuts a log at its new end."""
    while True:
        limits = {"tailLines": str(lines), "limitBytes": str(LOG_BYTES)}
        text = await cluster.text(path, container=CONTAINER, **limits)
        if lines == 1 or len(text.encode()) < LOG_BYTES:
            return text
        lines //= 2


def _ref_of(found: Object) -> PoolRef:
    return PoolRef(found["metadata"]["namespace"], found["metadata"]["name"])


def scaling_document(found: Object) -> Document:
    """Return the scaling part of an AgentPool's status. None: not reported yet."""
    spec, status = found.get("spec") or {}, found.get("status") or {}
    bounds = spec.get("scaling") or {}
    decision = status.get("lastDecision")
    return {
        **{name: status.get(field) for name, field in _COUNTS.items()},
        "manual_replicas": spec.get("replicas"),
        "min_replicas": bounds.get("minReplicas"),
        "max_replicas": bounds.get("maxReplicas"),
        "paused": bool(spec.get("paused")),
        "limited": _limit(status),
        "decision": {"at": decision["at"], "reason": decision["reason"]} if decision else None,
        "gpus": status.get("gpus"),
        "conditions": [
            {name: condition.get(name) for name in ("type", "status", "reason", "message")}
            for condition in status.get("conditions") or []
        ],
    }


def _limit(status: dict[str, Any]) -> Document | None:
    """Return the limit on the number of workers, or None."""
    for condition in status.get("conditions") or []:
        if condition["type"] == "ScalingLimited" and condition["status"] == "True":
            return {"reason": condition["reason"], "message": condition["message"]}
    return None
