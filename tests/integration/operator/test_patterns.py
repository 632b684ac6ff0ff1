"""A learned minimum, on the API: the load of past days in Redis outlives the operator."""

from __future__ import annotations

from agentpool_core.queue.history import DAY_MS, QUARTER_MS
from agentpool_core.queue.keys import Keys

SCALING = {"pollSeconds": 1, "idleSeconds": 1, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}


async def test_the_load_of_past_days_sets_the_minimum(start_operator, pool_of, look, until, redis, ref):
    """The floor of a pool that learns follows its history; without the field, the history says nothing."""
    seconds, _ = await redis.time()
    quarter = int(seconds) * 1000 // QUARTER_MS * QUARTER_MS
    for days in (3, 2, 1):
        for begin_ms in (quarter, quarter + QUARTER_MS):
            await redis.xadd(Keys(ref).quarters, {"running": "14.00"}, id=f"{begin_ms - days * DAY_MS}-0")
    await pool_of(scaling={**SCALING, "learnPatterns": True})
    start_operator()
    await until(look.replicas, 3)
    await until(lambda: look.condition("ScalingLimited"), ("True", "Pattern"))
    words = "no job waits or runs; the load at this time of the last three days keeps 3"
    assert (await look.status())["lastDecision"]["reason"] == words
    await pool_of(scaling=SCALING)
    await until(look.replicas, 0)
