"""A pool's last hour, a point each half minute: queue, throughput, workers.

The operator records the points with its decisions (`scripts/record.lua`), so that every reader has them at once.
`wait_estimate` and the console take over next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_core.errors import UnknownPoolError
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.snapshots import HistoryPoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.snapshots import QueueSnapshot

POINTS = 120  # kept by the script
APART_MS = 30_000  # at least, between two points


class PoolHistory:
    """The history of a pool."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self._redis = redis
        self._pool = pool

    async def record(self, *, desired: int | None, ready: int | None) -> bool:
        """Add a point with these workers; return False if the newest point is too recent. Raises QueueError."""
        args = ["" if number is None else str(number) for number in (desired, ready)]
        reply = await scripts.RECORD.run(self._redis, Keys(self._pool).conf, args)
        if reply == ["unknown_pool"]:
            raise UnknownPoolError(str(self._pool))
        return bool(reply == ["recorded"])

    async def points(self) -> tuple[HistoryPoint, ...]:
        """Return the points of the last hour, oldest first; none without an operator. Raises QueueError."""
        rows = await ask(self._redis, "XRANGE", Keys(self._pool).history, "-", "+", "COUNT", POINTS)
        with Reading("xrange"):
            points = [_readable_point(str(row[0]), fields_of(row[1])) for row in rows]
        return tuple(point for point in points if point is not None)

    async def snapshot(self) -> QueueSnapshot:
        """Return the pool's queue with its history, by which the estimate of a wait is one of the present work."""
        return replace(await Inspector(self._redis).snapshot(self._pool), history=await self.points())


def _readable_point(entry: str, fields: Mapping[str, str]) -> HistoryPoint | None:
    """Return a point; None for an entry of a different version or program, which hides no other point."""
    try:
        return _point_of(entry, fields)
    except (KeyError, ValueError):
        return None


def _point_of(entry: str, fields: Mapping[str, str]) -> HistoryPoint:
    def optional(name: str) -> int | None:
        return int(fields[name]) if fields.get(name) else None

    def counted(name: str) -> int:
        return max(0, int(fields[name]))

    return HistoryPoint(
        at_ms=int(entry.partition("-")[0]),
        queued=counted("queued"),
        running=counted("running"),
        slots=counted("slots"),
        started=counted("started"),
        finished=counted("finished"),
        failed=counted("failed"),
        attempts=counted("attempts"),
        run_ms=counted("run_ms"),
        desired=optional("desired"),
        ready=optional("ready"),
    )
