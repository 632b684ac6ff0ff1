"""The learned minimum: the workers for the load that a pool has had at the same time of past days. Pure.

The lowest load of the same weekday in the last two weeks counts; until both are known, the lowest of the last three
days. So a single busy or idle day changes little, and a pattern only raises the minimum. `agentpool_operator.queue`
reads the past loads for a time that is a start-up ahead, and `agentpool_operator.pools.resolve` puts the minimum into
the policy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentpool_operator.scaling.policy import Minimum

if TYPE_CHECKING:
    from collections.abc import Mapping

WEEKS, DAYS = (7, 14), (1, 2, 3)  # days ago
DAYS_AGO = (*DAYS, *WEEKS)  # with the loads to read
LEAD_SECONDS = 60.0  # beyond a start-up time


def seconds_ahead(startup_s: float | None) -> float:
    """Return how far ahead of the present the loads of past days count: None = no start-up time is known."""
    return (startup_s or 0.0) + LEAD_SECONDS


def raised_minimum(minimum: Minimum, past_loads: Mapping[int, float], *, slots: float, most: int) -> Minimum:
    """Return the higher of the minimum and of the learned minimum, at most `most` workers.

    `past_loads` has the mean of the running jobs, by days ago.
    """
    weekly = all(days in past_loads for days in WEEKS)
    known = WEEKS if weekly else DAYS
    if not all(days in past_loads for days in known):
        return minimum
    load = min(past_loads[days] for days in known)
    workers = min(most, math.floor(load / max(1.0, slots) + 0.5))
    if workers <= minimum.replicas:
        return minimum
    times = "the same time of the last two weeks" if weekly else "this time of the last three days"
    return Minimum(replicas=workers, pattern=f"the load at {times}")
