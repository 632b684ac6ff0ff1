"""A limit that holds a job: when it opens, and for a budget, how much is spent.

`scripts/lib/limits.lua` counts the money, and notes in `limited` when a bucket of a limit opens. `inspector` adds both
to the record of a held job, `codec.snapshot_reply` to the limits that are not divided.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentpool_core.jobs import BudgetUse
from agentpool_core.queue.connection.client import ask
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
    opens = float(await ask(redis, "ZSCORE", keys.limited, bucket) or math.inf)
    return math.ceil(opens) if math.isfinite(opens) and opens > await _pools_time_ms(redis, keys) else None


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
    spent = await ask(redis, "GET", keys.spent(bucket, window))
    (own,) = await ask(redis, "HMGET", keys.limit_overrides, bucket)
    with Reading("get"):
        amount = budget_in(str(own)) if own is not None else None
        return BudgetUse(
            limit=name,
            amount=amount or budget.amount,
            spent=int(spent or 0) / BILLION,
            resets_at_ms=opens,
        )


async def _pools_time_ms(redis: RedisClient, keys: Keys) -> int:
    """Return the present, as scripts/lib/pool.lua counts it."""
    time = await ask(redis, "TIME")
    ahead = await ask(redis, "HMGET", keys.counters, "clock_offset_ms", "clock_ahead_ms")
    with Reading("time"):
        return int(time[0]) * 1000 + int(time[1]) // 1000 + sum(int(ms or 0) for ms in ahead)
