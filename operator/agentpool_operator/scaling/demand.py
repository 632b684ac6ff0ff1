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

from agentpool_core.queue.load import startable, workers_for

if TYPE_CHECKING:
    from agentpool_operator.scaling.observation import Backlog
    from agentpool_operator.scaling.policy import ScalingPolicy

ROUNDING = 1e-6  # workers: a quotient of exact numbers may exceed a whole number by less


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """Demand of the backlog."""

    running: int  # jobs in flight on workers that stay
    ready: int  # jobs that wait
    slots: int  # slots that running and waiting jobs should have together
    reacting: int  # workers that bring so many slots
    foreseen: int = 0  # workers that the forecast asks for, if more than the present jobs do
    warm: int = 0  # workers kept warm for an expected burst, if more than both
    warm_is_sure: bool = True  # whether enough bursts were observed for a reliable hold time
    expected: int = 0  # of the reacting workers, those for jobs that are expected during a start of `startup_s`
    startup_s: float = 0.0  # seconds
    recent: int = 0  # of the reacting workers, those that only an earlier moment of the last `recent_s` needed
    recent_s: float = 0.0  # seconds
    out_of_service: int = 0  # of these workers, those that stand in for live ones that take no jobs
    held_back: int  # waiting jobs without a slot, because their route or another limit has no room
    held: int = 0  # further jobs that wait for a limit
    bounds: tuple[str, ...] = ()  # names of the limits over whole routes that hold jobs back
    divided: bool = False  # whether limits of keys, tenants or kinds hold jobs back

    @property
    def workers(self) -> int:
        """Workers in all: those that react, or more that are foreseen or kept warm."""
        return max(self.reacting, self.foreseen, self.warm)


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
        reacting=whole_workers(slots, policy),
        held_back=backlog.ready - waiting,
        held=backlog.held,
        bounds=bounds,
        divided=any(route.held_back for route in backlog.routes),
    )


def count_in_jobs(policy: ScalingPolicy, backlog: Backlog) -> ScalingPolicy:
    """Return the policy with the jobs that a worker runs at once in place of its slots, for the present mixture.

    A worker with 10 slots and 80 GiB has room for two jobs of 40 GiB.
    """
    if all(route.is_plain for route in backlog.routes):
        return policy
    by_route, _ = startable(backlog.routes, backlog.bounds, within_s=policy.target_wait_s)
    jobs = {route.name: route.running + by_route[route.name] for route in backlog.routes}
    workers = workers_for(
        jobs, backlog.routes, concurrency=int(policy.concurrency), gpu_memory_mib=policy.gpu_memory_mib
    )
    return replace(policy, concurrency=float(sum(jobs.values()) / workers)) if workers else policy


def add_replacements(need: Demand, out_of_service: int) -> Demand:
    """Add a worker for each live one that takes no jobs; none where no job needs a worker."""
    if not need.reacting or not out_of_service:
        return need
    return replace(need, reacting=need.reacting + out_of_service, out_of_service=out_of_service)


def whole_workers(slots: int, policy: ScalingPolicy) -> int:
    """Return the workers that have so many slots."""
    return math.ceil(slots / max(1, policy.concurrency) - ROUNDING)


def _slots_for_waiting(jobs: int, target_wait_s: float, service_s: float | None) -> int:
    if service_s is None or target_wait_s <= 0:
        return jobs
    return min(jobs, math.ceil(jobs * service_s / target_wait_s))
