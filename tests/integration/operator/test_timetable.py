"""A minimum by timetable, on the API: the pool follows, and says why."""

from __future__ import annotations

NOW = {"name": "now", "start": "* * * * *", "end": "0 0 1 1 *", "timeZone": "Europe/Berlin", "minReplicas": 3}


async def test_a_schedule_sets_the_minimum_until_its_end(start_operator, pool_of, look, until):
    """An active schedule keeps workers without jobs; the condition and the reason name the schedule."""
    start_operator()
    scaling = {"pollSeconds": 1, "idleSeconds": 1, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}
    await pool_of(scaling={**scaling, "schedules": [NOW]})
    await until(look.replicas, 3)
    await until(lambda: look.condition("ScalingLimited"), ("True", "Schedule"))
    assert (await look.status())["lastDecision"]["reason"].endswith("the schedule now keeps 3")
    await pool_of(scaling={**scaling, "schedules": [{**NOW, "start": "0 0 1 1 *", "end": "* * * * *"}]})
    await until(look.replicas, 0)
    await until(lambda: look.condition("ScalingLimited"), ("False", "WithinLimits"))
