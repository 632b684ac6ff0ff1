"""Slots and workers that a backlog needs.

In-flight work always counts in full. Waiting work counts a slot per job while the service time is unknown, and `backlog
x service time / target wait` slots afterwards: enough to start the last job in time (Little's law). In both cases a
route never gets more than its limits, and never more slots than jobs. Jobs that a limit holds need no slot.
`assessment` takes over next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agentpool_core.queue.load import startable

if TYPE_CHECKING:
    from agentpool_operator.scaling.observation import Backlog
    from agentpool_operator.scaling.policy import ScalingPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """Demand of the backlog."""

    running: int  # jobs in flight on workers that stay
    ready: int  # jobs that wait
    slots: int  # slots that running and waiting jobs should have together
    reacting: int  # workers that bring so many slots
    workers: int  # workers in all: those, or more that are kept warm
    warm: int = 0  # of these workers, those kept warm for an expected burst
    warm_is_sure: bool = True  # whether enough bursts were observed for a reliable hold time
    out_of_service: int = 0  # of these workers, those that stand in for live ones that take no jobs
    held_back: int  # waiting jobs without a slot, because their route is at its limit
    held: int = 0  # further jobs that wait for a limit
    bounds: tuple[str, ...] = ()  # names of the limits over whole routes that hold jobs back


def demand(backlog: Backlog, policy: ScalingPolicy, service_s: float | None, *, draining: int = 0) -> Demand:
    """Return the demand of this moment.

    `service_s` is the mean seconds that a job runs, None = not known; `draining` are the running jobs on ending pods.
    """
    running = max(0, backlog.running - draining)
    by_route, bounds = startable(backlog.routes, backlog.bounds, within_s=policy.target_wait_s)
    waiting = sum(by_route.values()) + backlog.lost  # a limit counts lost jobs as running
    slots = running + _slots_for_waiting(waiting, policy.target_wait_s, service_s)
    return Demand(
        running=running,
        ready=backlog.ready,
        slots=slots,
        reacting=math.ceil(slots / max(1, policy.concurrency)),
        workers=math.ceil(slots / max(1, policy.concurrency)),
        held_back=backlog.ready - waiting,
        held=backlog.held,
        bounds=bounds,
    )


def add_replacements(need: Demand, out_of_service: int) -> Demand:
    """Add a worker for each live one that takes no jobs; none where no job needs a worker."""
    if not need.reacting or not out_of_service:
        return need
    return replace(
        need,
        reacting=need.reacting + out_of_service,
        workers=max(need.workers, need.reacting + out_of_service),
        out_of_service=out_of_service,
    )


def _slots_for_waiting(jobs: int, target_wait_s: float, service_s: float | None) -> int:
    if service_s is None or target_wait_s <= 0:
        return jobs
    return min(jobs, math.ceil(jobs * service_s / target_wait_s))
