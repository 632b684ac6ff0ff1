"""The whole system for a benchmark: Redis, the devcluster and the operator, as processes on this machine, and one pool.

`bench.autoscale_live` replays a trace on it, and `bench.waiting` starts a worker from zero.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from agentpool_core.kube import paths
from agentpool_local.errors import LocalError
from agentpool_local.stack.cluster import Cluster, open_kubeconfig
from agentpool_local.stack.stack import SECRET, Stack, StackOptions
from agentpool_local.stack.workspace import Workspace
from bench.report import CannotRunError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from agentpool_core.jobs import PoolRef

NODE = "bench,cpu=64,memory=256Gi"
READY_SECONDS = 60.0  # for the operator to take up the pool
LOOK_SECONDS = 0.2  # between looks at the pool


@contextlib.asynccontextmanager
async def live_system(pool: PoolRef, image: str, directory: Path) -> AsyncIterator[tuple[Cluster, str]]:
    """Run everything but the pool, which is deleted at the end. Raises CannotRunError if a part cannot be started."""
    options = StackOptions(nodes=(NODE,), images=(f"{image}={directory}",))
    with Workspace() as workspace:
        stack = Stack(options, workspace, sink=lambda _name, _line: None, progress=tell)
        try:
            await stack.start()
            async with open_kubeconfig(stack.kubeconfig) as cluster:
                yield cluster, stack.redis_url
                await cluster.delete(paths.agentpools(pool.namespace, pool.name))
        except LocalError as error:
            raise CannotRunError(str(error)) from error
        finally:
            await stack.stop()


def worker_spec(image: str, **fields: Any) -> dict[str, Any]:
    """Return `spec.worker` of a pool with small requests; `env` goes to the container."""
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}}
    container = {"name": "worker", "image": image, "env": fields.pop("env", []), "resources": resources}
    return {**fields, "template": {"spec": {"containers": [container]}}}


async def apply_pool(cluster: Cluster, pool: PoolRef, spec: Mapping[str, Any]) -> None:
    """Apply an AgentPool on the system's Redis, and wait until the pool is ready."""
    queue = {"redis": {"urlFrom": {"secretKeyRef": {"name": SECRET, "key": "url"}}}, **spec.get("queue", {})}
    body = {
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": pool.name, "namespace": pool.namespace},
        "spec": {**spec, "queue": queue},
    }
    await cluster.apply(paths.agentpools(pool.namespace, pool.name), body)
    deadline = time.monotonic() + READY_SECONDS
    while (state := await cluster.pool(pool)) is None or not state.ready:
        if time.monotonic() > deadline:
            raise CannotRunError(f"the pool was not ready within {READY_SECONDS:g} s: {state and state.reason}")
        await asyncio.sleep(LOOK_SECONDS)


def tell(line: str) -> None:
    """Show progress."""
    print(line, file=sys.stderr, flush=True)
