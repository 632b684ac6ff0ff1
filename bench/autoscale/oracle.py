"""An autoscaler that knows the future: starts every worker just in time, stops it when the gap is long enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.autoscale.jobs import Workload
    from bench.autoscale.simulator import State


class Oracle:
    """Sizes by the jobs that will run at once within the next start-up time, had none of them waited."""

    name = "oracle"
    woken = False
    keep = None

    def __init__(self, workload: Workload, startup_s: float) -> None:
        self.period_s = 1.0
        ahead_s = math.ceil(startup_s) + 2
        busy = _at_once(workload)
        self._sizes = [max(busy[at : at + ahead_s], default=0) for at in range(len(busy))]

    def size(self, state: State) -> int:
        """Return the workers that the next seconds need, and never fewer than run now."""
        at = int(state.now)
        coming = self._sizes[at] if at < len(self._sizes) else 0
        return math.ceil(max(coming, state.running + len(state.waiting)) / state.setup.slots)


def _at_once(workload: Workload) -> list[int]:
    """Return the jobs that would run in each second if none waited."""
    longest = max((job.at + job.service_s for job in workload.jobs), default=0.0)
    steps = [0] * (int(longest) + 3)
    for job in workload.jobs:
        steps[int(job.at)] += 1
        steps[int(job.at + job.service_s) + 1] -= 1
    total, busy = 0, []
    for step in steps:
        total += step
        busy.append(total)
    return busy
