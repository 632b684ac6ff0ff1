"""Demand of the present backlog, given the start-up time of workers.

A new worker helps only jobs that still wait when the worker is ready. So the rule looks that far ahead: the backlog
plus the arrivals until then, less the jobs that existing workers finish meanwhile. If existing workers start the rest
within the target wait, no worker is added. Otherwise the demand is as many slots as start the rest in time, beside the
steady load. `keep_warm` looks back instead; `assessment` takes the larger of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """Inputs of the look ahead."""

    running: int  # jobs
    startable: int  # jobs that wait and that their route lets run
    slots_now: float  # of all workers, including starting workers
    steady_rate: float  # jobs a second, over the last start-up time
    present_rate: float  # jobs a second, the busier of the last start-up time and the last target wait
    service_s: float  # seconds
    startup_s: float  # seconds
    target_s: float  # seconds


def desired_slots(outlook: Outlook) -> int:
    """Slots that the pool should have, counting those in use."""
    if outlook.startable == 0:
        return outlook.running
    jobs = outlook.running + outlook.startable
    served = outlook.slots_now * outlook.startup_s / outlook.service_s
    left = max(0.0, outlook.startable + outlook.present_rate * outlook.startup_s - served)
    in_time = outlook.slots_now * outlook.target_s / outlook.service_s
    wanted = float(max(outlook.running, min(jobs, outlook.slots_now), 1))
    if left > in_time or outlook.slots_now == 0:
        steady = outlook.steady_rate * outlook.service_s
        ahead = steady + left * outlook.service_s / outlook.target_s
        wanted = max(wanted, min(float(jobs), ahead))
    return math.ceil(wanted - 1e-9)
