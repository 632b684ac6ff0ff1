"""A pool's last hour, a point each half minute: queue, throughput, workers; and its load at the same time of past days.

The operator records the points with its decisions (`scripts/record.lua`), so that every reader has them at once. Of a
pool that learns patterns, the script also keeps the mean load of each quarter of an hour, for 15 days. `wait_estimate`,
the console and the operator's `scaling.patterns` take over next.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import UnknownPoolError
from agentpool_core.process.cancellation import results_of
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.snapshots import HistoryPoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.snapshots import QueueSnapshot

POINTS = 120  # kept by the script
APART_MS = 30_000  # at least, between two points
QUARTER_MS = 900_000  # the times of the quarters, as in the script
DAY_MS = 86_400_000


class PoolHistory:
    """The history of a pool."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self._redis = redis
        self._pool = pool

    async def record(self, *, desired: int | None, ready: int | None, patterns: bool = False) -> bool:
        """Add a point with these workers; return False if the newest point is too recent. Raises QueueError.

        With `patterns`, the load of the last quarter of an hour is kept, too.
        """
        args = ["" if number is None else str(number) for number in (desired, ready)]
        args.append("1" if patterns else "")
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

    async def past_loads(self, at_ms: int, days_ago: Sequence[int]) -> dict[int, float]:
        """Return the mean of the running jobs in the same quarter of an hour of these past days, by days ago.

        Days without a known load are absent. `at_ms` is a time on the pool's clock; the days are those of UTC. Raises
        QueueError.
        """
        quarter = at_ms // QUARTER_MS * QUARTER_MS
        ids = [f"{quarter - days * DAY_MS}-0" for days in days_ago]
        found = await results_of(ask(self._redis, "XRANGE", Keys(self._pool).quarters, id_, id_) for id_ in ids)
        with Reading("xrange"):
            loads = {days: _running_of(rows) for days, rows in zip(days_ago, found, strict=True) if rows}
        return {days: load for days, load in loads.items() if load is not None}

    async def snapshot(self) -> QueueSnapshot:
        """Return the pool's queue with its history, by which the estimate of a wait is one of the present work."""
        return replace(await Inspector(self._redis).snapshot(self._pool), history=await self.points())


def _running_of(rows: Sequence[Any]) -> float | None:
    """Return the load of a quarter; None for an entry of a different version or program, which hides no other day."""
    try:
        running = float(fields_of(rows[0][1])["running"])
    except (KeyError, ValueError):
        return None
    return max(0.0, running) if math.isfinite(running) else None


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
