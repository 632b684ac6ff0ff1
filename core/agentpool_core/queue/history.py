"""A pool's last hour, a point each half minute: queue, throughput, workers.

The operator records the points with its decisions (`scripts/record.lua`), so that every reader has them at once.
`wait_estimate` and the console take over next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.errors import UnknownPoolError
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.snapshots import HistoryPoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient

POINTS = 120  # kept by the script
APART_MS = 30_000  # at least, between two points


async def record_point(redis: RedisClient, pool: PoolRef, *, desired: int | None, ready: int | None) -> bool:
    """Add a point to a pool's history; return False if the newest point is too recent. Raises QueueError."""
    args = ["" if number is None else str(number) for number in (desired, ready)]
    reply = await scripts.RECORD.run(redis, Keys(pool).conf, args)
    if reply == ["unknown_pool"]:
        raise UnknownPoolError(str(pool))
    return bool(reply == ["recorded"])


async def read_history(redis: RedisClient, pool: PoolRef) -> tuple[HistoryPoint, ...]:
    """Return the points of the last hour, oldest first; none without an operator. Raises QueueError."""
    rows = await ask(redis, "XRANGE", Keys(pool).history, "-", "+", "COUNT", POINTS)
    with Reading("xrange"):
        return tuple(_point_of(str(row[0]), fields_of(row[1])) for row in rows)


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
