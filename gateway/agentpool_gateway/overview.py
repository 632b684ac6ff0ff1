"""All pools in one document, those in trouble first, shared by every console that looks.

A pipelined read for each Redis and one list of AgentPools. A pool that cannot be read is a row with the problem. The
document is held for a few seconds, and for longer where the read takes long, so that the reads never load a Redis.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from agentpool_core.errors import AgentPoolError, ClusterError, QueueUnreachableError
from agentpool_core.jobs import PoolRef
from agentpool_core.process.cancellation import results_of
from agentpool_core.queue import Inspector
from agentpool_gateway.http.outages import outage_of
from agentpool_gateway.troubles import Severity, Trouble, troubles_of

if TYPE_CHECKING:
    from agentpool_core.documents import Document
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_gateway.pools.pool_resources import PoolResources
    from agentpool_gateway.pools.queues import Queues

ANSWER_WITHIN_SECONDS = 4.0  # of a Redis; a page takes its figures for stale soon after
HELD_SECONDS = (2.0, 10.0)  # at least, at most
REST_SHARE = 10  # times the duration of a read is the time to the next read


class Overview:
    """The overview of the pools that this gateway serves."""

    def __init__(self, queues: Queues, resources: PoolResources) -> None:
        self._queues = queues
        self._resources = resources
        self._lock = asyncio.Lock()
        self._rows: list[Document] = []
        self._began, self._until = 0.0, 0.0  # seconds, monotonic: of the latest read, and of its validity

    async def rows(self) -> tuple[list[Document], float]:
        """Return a row for each pool, and the age of the rows in seconds.

        Raises QueueError or ClusterError if the pools cannot be listed.
        """
        async with self._lock:
            began = time.monotonic()
            if self._until < began:
                self._rows = await self._read()
                ended = time.monotonic()
                least, most = HELD_SECONDS
                self._began, self._until = began, ended + min(max(least, REST_SHARE * (ended - began)), most)
            return self._rows, time.monotonic() - self._began

    async def _read(self) -> list[Document]:
        pools = await self._queues.names()
        scaling, places = await asyncio.gather(self._scaling(), results_of(map(self._place, pools)))
        by_redis: dict[RedisClient, list[PoolRef]] = {}
        rows = []
        for pool, place in zip(pools, places, strict=True):
            if isinstance(place, AgentPoolError):
                rows.append(_unread(pool, place))
            else:
                by_redis.setdefault(place, []).append(pool)
        for found in await results_of(_snapshots(redis, some) for redis, some in by_redis.items()):
            rows += [_row(pool, queue, scaling.get(pool, {})) for pool, queue in found.items()]
        return sorted(rows, key=_rank)

    async def _scaling(self) -> dict[PoolRef, Document]:
        try:
            return await self._resources.scaling_of_all(self._queues.locations.namespaces)
        except ClusterError:
            return {}  # the queues are still worth a look; a pool's own page names the error

    async def _place(self, pool: PoolRef) -> RedisClient | AgentPoolError:
        try:
            return self._queues.redis(await self._queues.locations.address(pool))
        except AgentPoolError as error:
            return error


async def _snapshots(redis: RedisClient, pools: list[PoolRef]) -> dict[PoolRef, QueueSnapshot | AgentPoolError]:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            return dict(await Inspector(redis).snapshots(pools))
    except TimeoutError:
        silent = QueueUnreachableError(f"no answer within {ANSWER_WITHIN_SECONDS:g} s")
        return dict.fromkeys(pools, silent)


def _row(pool: PoolRef, queue: QueueSnapshot | AgentPoolError, scaling: Document) -> Document:
    if isinstance(queue, AgentPoolError):
        return _unread(pool, queue)
    return {
        "pool": str(pool),
        "troubles": [trouble.document for trouble in troubles_of(queue, scaling)],
        "read": True,
        "queued": queue.queued,
        "running": queue.running,
        "dead": queue.dead,
        "slots": queue.slots,
        "slots_used": queue.slots_used,
        "workers": len(queue.live_workers),
        "oldest_wait_ms": queue.oldest_wait_ms,
        "ready_replicas": scaling.get("ready_replicas"),
        "wanted_replicas": scaling.get("wanted_replicas"),
    }


def _unread(pool: PoolRef, error: AgentPoolError) -> Document:
    """Return the row of a pool with an unknown queue, in the words of the answer to a request for the pool."""
    outage = outage_of(error, executed=True)
    message = outage.detail if outage is not None else str(error)
    trouble = Trouble(severity=Severity.ERROR, reason="QueueUnreadable", message=message)
    return {"pool": str(pool), "read": False, "troubles": [trouble.document]}


def _rank(row: Document) -> tuple[int, str]:
    """Order by the worst trouble, then by name: figures that change each second would move the rows."""
    worst = min((Severity[trouble["severity"].upper()] for trouble in row["troubles"]), default=len(Severity))
    return int(worst), row["pool"]
