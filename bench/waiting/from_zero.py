"""From a signal to the handler at zero workers: the operator starts a worker on the devcluster."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentpool_core.client import Client
from agentpool_core.jobs import JobState, PoolRef
from agentpool_core.kube import paths
from agentpool_local.stack.stack import NAMESPACE
from bench.live_system import apply_pool, live_system, worker_spec
from bench.report import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agentpool_core.jobs import JobId
    from agentpool_local.stack.cluster import Cluster

POOL = PoolRef(NAMESPACE, "waiting")
IMAGE = "agentpool/bench-waiting"
CHECKOUT = Path(__file__).parents[2]
LOOK_SECONDS = 0.01
WITHIN_SECONDS = 120.0
SPEC = {
    "handler": {"python": {"app": "bench.handlers:app"}},
    "worker": worker_spec(IMAGE, concurrency=1),
    "scaling": {"maxReplicas": 1, "idleSeconds": 1, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A resume from zero, in seconds."""

    whole_s: float  # from just before the signal to the handler behind the wait
    worker_s: float  # of this, from the new pod to the worker's registration in the queue


async def from_zero(rounds: int) -> list[Started]:
    """Resume a waiting job at zero workers, this many times."""
    async with live_system(POOL, IMAGE, CHECKOUT) as (cluster, url), Client(url, pool=POOL) as client:
        await apply_pool(cluster, POOL, SPEC)
        return [await _round(cluster, client) for _ in range(rounds)]


async def _round(cluster: Cluster, client: Client) -> Started:
    receipt = await client.submit("approval")
    await _until(lambda: _is_waiting(client, receipt.job_id), "the job waits")
    await _until(lambda: _is_empty(cluster, client), "no worker is left")
    begun = time.monotonic()
    watching = asyncio.create_task(_start_of(cluster, client))
    await receipt.signal("go")
    behind: Any = await receipt.result(timeout=WITHIN_SECONDS)
    return Started(whole_s=behind - begun, worker_s=await watching)


async def _start_of(cluster: Cluster, client: Client) -> float:
    """Return the time from the first look at the new pod to the first look at the registered worker."""

    async def has_pod() -> bool:
        return bool(await _pods(cluster))

    async def has_worker() -> bool:
        return bool((await client.queue()).workers)

    await _until(has_pod, "a pod was created")
    begun = time.monotonic()
    await _until(has_worker, "the worker is registered")
    return time.monotonic() - begun


async def _is_waiting(client: Client, job_id: JobId) -> bool:
    return (await client.job(job_id)).state is JobState.WAITING


async def _is_empty(cluster: Cluster, client: Client) -> bool:
    return not await _pods(cluster) and not (await client.queue()).workers


async def _pods(cluster: Cluster) -> list[dict]:
    return await cluster.list(paths.pods(POOL.namespace), labelSelector=f"agentpool.dev/pool={POOL.name}")


async def _until(holds: Callable[[], Awaitable[bool]], description: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not await holds():
        if time.monotonic() > deadline:
            raise CannotRunError(f"not within {WITHIN_SECONDS:g} s: {description}")
        await asyncio.sleep(LOOK_SECONDS)
