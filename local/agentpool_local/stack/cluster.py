"""Kubernetes requests of `dev` and `session`: apply, read, delete.

Uses HTTP with a kubeconfig, so neither needs kubectl. A refusal, or a server that does not answer, is raised as
ClusterError with the cause chained.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from agentpool_core.errors import ClusterError
from agentpool_core.redis_address import OPTED_IN, REDIS_LABEL
from agentpool_devcluster.kube.client import KubeClient
from agentpool_devcluster.kube.errors import AlreadyExistsError, KubeError, NotFoundError
from agentpool_devcluster.kube.kubeconfig import read_kubeconfig
from agentpool_devcluster.kube.resources import DEPLOYMENTS, NODES, PODS, SECRETS, Resource
from agentpool_local.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from agentpool_core.jobs import PoolRef

POOLS = Resource(group="agentpool.dev", version="v1alpha1", plural="agentpools", kind="AgentPool")
CRDS = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    namespaced=False,
)
ESTABLISHED_SECONDS = 15.0
POLL_SECONDS = 0.05
GPU = "nvidia.com/gpu"  # the resource that the example asks for
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
    """An API server. Use it as an async context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        with _refusals():
            self._client = KubeClient(read_kubeconfig(kubeconfig), user_agent="agentpool-local")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def apply_crd(self, body: Mapping[str, Any]) -> None:
        """Apply the AgentPool CRD and wait until the server serves it."""
        await self.put(CRDS, None, body)
        deadline = asyncio.get_running_loop().time() + ESTABLISHED_SECONDS
        while not _holds(await self.read(CRDS, None, body["metadata"]["name"]), "Established"):
            if asyncio.get_running_loop().time() > deadline:
                raise NotReadyError("the AgentPool CRD", ESTABLISHED_SECONDS, "the API server does not serve it")
            await asyncio.sleep(POLL_SECONDS)

    async def put(self, resource: Resource, namespace: str | None, body: Mapping[str, Any]) -> bool:
        """Create an object, or replace an existing object; return whether it is new."""
        with _refusals():
            try:
                await self._client.create(resource, namespace, body)
            except AlreadyExistsError:
                name = body["metadata"]["name"]
                there = await self._client.get(resource, namespace, name)
                metadata = {**body["metadata"], "resourceVersion": there["metadata"]["resourceVersion"]}
                if namespace is not None:
                    metadata["namespace"] = namespace
                await self._client.replace(resource, {**body, "metadata": metadata})
                return False
        return True

    async def put_redis(self, namespace: str, name: str, url: str) -> bool:
        """Keep a Redis URL in a Secret that pools may use; return whether it is new."""
        return await self.put_secret(namespace, name, {"url": url}, labels={REDIS_LABEL: OPTED_IN})

    async def put_secret(
        self, namespace: str, name: str, values: Mapping[str, str], *, labels: Mapping[str, str] | None = None
    ) -> bool:
        """Store values in a Secret; return whether it is new."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": {**OURS, **(labels or {})}},
            "type": "Opaque",
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
        return await self.put(SECRETS, namespace, body)

    async def read(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any] | None:
        """Return an object; None when there is none."""
        with _refusals():
            try:
                return await self._client.get(resource, namespace, name)
            except NotFoundError:
                return None

    async def list(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> Sequence[Any]:
        """Return the objects of a kind, narrowed by a label selector if given."""
        with _refusals():
            return (await self._client.list(resource, namespace, labels=labels))["items"] or ()

    async def delete(self, resource: Resource, namespace: str | None, name: str) -> None:
        """Delete an object; a missing object is fine."""
        with _refusals():
            try:
                await self._client.delete(resource, namespace, name)
            except NotFoundError:
                return

    async def pool(self, pool: PoolRef) -> PoolState | None:
        """Return how a pool stands; None when there is none."""
        found, deployment, pods = await asyncio.gather(
            self.read(POOLS, pool.namespace, pool.name),
            self.read(DEPLOYMENTS, pool.namespace, pool.name),
            self.list(PODS, pool.namespace, labels=f"agentpool.dev/pool={pool.name}"),
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
        nodes = await self.list(NODES)
        return sum(int((node.get("status") or {}).get("allocatable", {}).get(GPU, 0)) for node in nodes)

    async def ready_nodes(self) -> int:
        """Count the nodes that are ready."""
        return sum(_holds(node, "Ready") for node in await self.list(NODES))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except KubeError as error:
        raise ClusterError(str(error)) from error


def _devices(pod: Mapping[str, Any], resource: str) -> int:
    limits = ((container.get("resources") or {}).get("limits") or {} for container in pod["spec"]["containers"])
    return sum(int(each.get(resource) or 0) for each in limits)


def _condition(found: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any]:
    conditions = ((found or {}).get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _holds(found: Mapping[str, Any] | None, kind: str) -> bool:
    return _condition(found, kind).get("status") == "True"
