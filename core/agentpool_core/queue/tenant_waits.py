"""The longest waits by tenant: the oldest ready job of each tenant that waits for a turn.

Jobs with tenants wait in lines (`scripts/lib/lines.lua`). The reading is bounded: of each route and priority the lines
with the next turns, and of these only the longest waits by name. The operator reads them with the points of the
history, `agentpool_operator.queue_metrics` shows them.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.jobs import JobId
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.connection.client import ask_many
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import NO_TENANT, Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import PoolRef, Priority
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.snapshots import QueueSnapshot

MOST_LINES = 200  # of a route and priority
MOST_TENANTS = 10
Place = tuple[str, "Priority"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantWait:
    """The wait of a tenant's oldest ready job."""

    tenant: str
    ms: int


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class _Head:
    """The first entry of a line."""

    at_ms: int  # of the entry
    entry: str
    place: Place
    digest: str  # of the tenant


async def longest_waits(redis: RedisClient, pool: PoolRef, snapshot: QueueSnapshot) -> tuple[TenantWait, ...]:
    """Return the tenants with the longest waits, the longest first. Raises QueueError."""
    places = [(route.name, priority) for route in snapshot.routes for priority, jobs in route.queued.items() if jobs]
    reader = _Reader(redis, pool)
    oldest: dict[str, _Head] = {}  # by tenant
    for head in await reader.heads(places):
        oldest[head.digest] = min(head, oldest.get(head.digest, head))
    heads = heapq.nsmallest(MOST_TENANTS, oldest.values())
    now_ms = snapshot.taken_at_ms - await reader.ahead_ms() if heads else 0
    names = await reader.tenants(heads)
    return tuple(
        TenantWait(tenant=name, ms=max(0, now_ms - head.at_ms))
        for head, name in zip(heads, names, strict=True)
        if name is not None  # else the job has started meanwhile
    )


class _Reader:
    """Pipelined reads of a pool's lines."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self._redis = redis
        self._keys = Keys(pool)

    async def heads(self, places: Sequence[Place]) -> list[_Head]:
        """Return the first entries of the lines of tenants."""
        turns = await self._ask([("ZRANGE", self._keys.turns(*place), 0, MOST_LINES - 1) for place in places])
        with Reading("zrange"):
            lines = [
                (place, str(digest))
                for place, digests in zip(places, turns, strict=True)
                for digest in digests
                if digest != NO_TENANT
            ]
        first = await self._ask([("ZRANGE", self._keys.line(*place, digest), 0, 0) for place, digest in lines])
        with Reading("zrange"):
            return [
                _Head(at_ms=int(entry.partition("-")[0]), entry=entry, place=place, digest=digest)
                for (place, digest), entries in zip(lines, first, strict=True)
                for entry in entries
            ]

    async def tenants(self, heads: Sequence[_Head]) -> list[str | None]:
        """Return the tenant of each entry's job; None: the job waits no more."""
        streams = [("XRANGE", self._keys.stream(*head.place), head.entry, head.entry) for head in heads]
        entries = await self._ask(streams)
        with Reading("xrange"):
            ids = [next(iter(fields_of(rows[0][1]).values()), "") if rows else "" for rows in entries]
        found = await self._ask([("HMGET", self._keys.job(JobId(job_id)), "tenant") for job_id in ids])
        with Reading("hmget"):
            return [tenant if tenant is None else str(tenant) for (tenant,) in found]

    async def ahead_ms(self) -> int:
        """Return how far the pool's time is ahead of the clock of entries."""
        ((ahead,),) = await self._ask([("HMGET", self._keys.counters, "clock_ahead_ms")])
        with Reading("hmget"):
            return int(ahead or 0)

    async def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not commands:
            return []
        return await ask_many(self._redis, self._keys.conf, *commands, doing="the waits of tenants")
