"""A limit that holds a job: when it opens, and for a budget, how much is spent.

`scripts/lib/limits.lua` counts the money, and notes in `limited` when a bucket of a limit opens. `inspector` adds both
to the record of a held job, `codec.snapshot_reply` to the limits that are not divided.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentpool_core.jobs import BudgetUse
from agentpool_core.queue.connection.client import ask_many
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.overrides import budget_in
from agentpool_core.queue.usage import BILLION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.limits import Limit


async def opening_of(redis: RedisClient, pool: PoolRef, bucket: str) -> int | None:
    """Return the time (ms) at which a bucket opens that holds a job; None: when a job ends, or at this moment."""
    keys = Keys(pool)
    when = ("ZSCORE", keys.limited, bucket)
    ahead = ("HMGET", keys.counters, "clock_offset_ms", "clock_ahead_ms")
    found = await ask_many(redis, keys.conf, when, ("TIME",), ahead, doing="the opening of a limit")
    with Reading("the opening of a limit"):
        opens, (seconds, micros), ahead_ms = found
        now = int(seconds) * 1000 + int(micros) // 1000 + sum(int(ms or 0) for ms in ahead_ms)  # as lib/pool.lua counts
        at = float(opens or math.inf)
        return math.ceil(at) if math.isfinite(at) and at > now else None


async def budget_of(
    redis: RedisClient, pool: PoolRef, bucket: str, limits: Sequence[Limit], opens: int
) -> BudgetUse | None:
    """Return the use of the bucket that holds a job until `opens` (ms); None: its limit is no budget."""
    name = bucket.partition(":")[0]
    budget = next((limit.budget for limit in limits if limit.name == name), None)
    if budget is None:
        return None
    keys = Keys(pool)
    window = math.ceil(opens / budget.window_ms) - 1
    use = (("GET", keys.spent(bucket, window)), ("HMGET", keys.limit_overrides, bucket))
    spent, (own,) = await ask_many(redis, keys.conf, *use, doing="the use of a budget")
    with Reading("the use of a budget"):
        amount = budget_in(str(own)) if own is not None else None
        return BudgetUse(
            limit=name,
            amount=amount or budget.amount,
            spent=int(spent or 0) / BILLION,
            resets_at_ms=opens,
        )
