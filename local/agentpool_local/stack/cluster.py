"""Kubernetes requests of `dev` and `demo`: apply, read, delete, and the state of a pool.

Uses `agentpool_core.kube`, so neither needs kubectl, and `demo` takes the kubeconfigs that kubectl takes. `stack` and
`demo` call it.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.kube import paths
from agentpool_core.kube.connection import open_cluster
from agentpool_core.kube.errors import NotThereError
from agentpool_core.redis_address import OPTED_IN, REDIS_LABEL
from agentpool_local.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from agentpool_core.jobs import PoolRef
    from agentpool_core.kube import client

ESTABLISHED_SECONDS = 15.0
POLL_SECONDS = 0.05
GPU = "nvidia.com/gpu"  # the resource that the example asks for
MANAGER = "agentpool-local"  # field manager
OURS = {"app.kubernetes.io/managed-by": "agentpool"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolState:
    """Workers of a pool at a moment."""

    ready: bool  # the condition Ready
    reason: str  # message of the condition Ready; empty if not set yet
    wanted: int  # workers that the work alone would want
    cap: int | None  # workers that there may be at most, spec.scaling.maxReplicas; None: the spec does not say
    desired: int  # workers that the operator asked for
    replicas: int  # workers that exist
    ready_replicas: int  # workers that are ready
    gpus_held: int  # devices that the pool's pods hold


class Cluster:
    """An API server."""

    def __init__(self, api: client.Cluster) -> None:
        self._api = api

    async def apply_crd(self, body: Mapping[str, Any]) -> None:
        """Apply the AgentPool CRD and wait until the server serves AgentPools."""
        path = paths.definition(body["metadata"]["name"])
        await self.apply(path, body)
        deadline = asyncio.get_running_loop().time() + ESTABLISHED_SECONDS
        while not _holds(await self.read(path), "Established"):
            if asyncio.get_running_loop().time() > deadline:
                raise NotReadyError("the AgentPool CRD", ESTABLISHED_SECONDS, "the API server does not serve it")
            await asyncio.sleep(POLL_SECONDS)

    async def apply(self, path: str, body: Mapping[str, Any], *, manager: str = MANAGER) -> None:
        """Create an object, or give an existing object the fields of `body`, which the manager then owns."""
        await self._api.apply(path, body, manager=manager)

    async def put_redis(self, namespace: str, name: str, url: str) -> None:
        """Keep a Redis URL in a Secret that pools may use."""
        await self.put_secret(namespace, name, {"url": url}, labels={REDIS_LABEL: OPTED_IN})

    async def put_secret(
        self, namespace: str, name: str, values: Mapping[str, str], *, labels: Mapping[str, str] | None = None
    ) -> None:
        """Store values in a Secret."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": {**OURS, **(labels or {})}},
            "type": "Opaque",
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
        await self.apply(paths.secret(namespace, name), body)

    async def read(self, path: str) -> dict[str, Any] | None:
        """Return an object; None when there is none."""
        try:
            return await self._api.get(path)
        except NotThereError:
            return None

    async def list(self, path: str, **selectors: str) -> list[dict[str, Any]]:
        """Return the objects of a collection, narrowed by selectors (`labelSelector`) if given."""
        items, _ = await self._api.list(path, **selectors)
        return items

    async def delete(self, path: str) -> None:
        """Delete an object; a missing object is fine."""
        try:
            await self._api.delete(path)
        except NotThereError:
            return

    async def pool(self, pool: PoolRef) -> PoolState | None:
        """Return how a pool stands; None when there is none."""
        found, deployment, pods = await asyncio.gather(
            self.read(paths.agentpools(pool.namespace, pool.name)),
            self.read(paths.deployments(pool.namespace, pool.name)),
            self.list(paths.pods(pool.namespace), labelSelector=f"agentpool.dev/pool={pool.name}"),
        )
        if found is None:
            return None
        status = found.get("status") or {}
        workers = (deployment or {}).get("status") or {}  # newer than the pool's own status
        condition = _condition(found, "Ready")
        return PoolState(
            ready=condition.get("status") == "True"
            and condition.get("observedGeneration") == found["metadata"].get("generation"),
            reason=str(condition.get("message", "")),
            wanted=int(status.get("wantedReplicas") or 0),
            cap=((found.get("spec") or {}).get("scaling") or {}).get("maxReplicas"),
            desired=int(((deployment or {}).get("spec") or {}).get("replicas") or 0),
            replicas=int(workers.get("replicas") or 0),
            ready_replicas=int(workers.get("readyReplicas") or 0),
            gpus_held=sum(_devices(pod, GPU) for pod in pods),
        )

    async def devices(self) -> int:
        """Count the GPUs of all nodes."""
        nodes = await self.list(paths.nodes())
        return sum(int((node.get("status") or {}).get("allocatable", {}).get(GPU, 0)) for node in nodes)

    async def ready_nodes(self) -> int:
        """Count the nodes that are ready."""
        return sum(_holds(node, "Ready") for node in await self.list(paths.nodes()))


@asynccontextmanager
async def open_kubeconfig(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """Yield the cluster of a kubeconfig. Raises SettingError for an unusable kubeconfig, ClusterError in the block."""
    async with open_cluster(kubeconfig) as api:
        yield Cluster(api)


def _devices(pod: Mapping[str, Any], resource: str) -> int:
    limits = ((container.get("resources") or {}).get("limits") or {} for container in pod["spec"]["containers"])
    return sum(int(each.get(resource) or 0) for each in limits)


def _condition(found: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any]:
    conditions = ((found or {}).get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _holds(found: Mapping[str, Any] | None, kind: str) -> bool:
    return _condition(found, kind).get("status") == "True"
