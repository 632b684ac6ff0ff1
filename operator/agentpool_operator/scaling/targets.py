"""Target wait of the present backlog, from the targets of its priorities. Pure.

Jobs start in order of priority. So a priority reaches its target if the slots start its jobs, and all jobs of higher
priorities, within that time; of its own jobs, the share of its percentile counts. The priority that needs the most
slots decides. `with_present_target` states the result as a single target for the whole backlog, the number by which
`demand`, `reaction` and `keep_warm` calculate; while no job waits, the last result stays. `assessment` takes over next.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_core.jobs import Priority
from agentpool_core.queue.load import startable
from agentpool_operator.scaling.memory import PresentTarget
from agentpool_operator.scaling.policy import WaitTarget

if TYPE_CHECKING:
    from agentpool_operator.scaling.memory import PoolMemory
    from agentpool_operator.scaling.observation import Backlog
    from agentpool_operator.scaling.policy import ScalingPolicy

ALL_PERCENT = 100


def with_present_target(
    policy: ScalingPolicy, backlog: Backlog, memory: PoolMemory
) -> tuple[ScalingPolicy, PoolMemory]:
    """Return the policy with the backlog's target as its only one, and the memory of that target."""
    if not policy.targets:
        return policy, memory
    present = _present_target(policy, backlog, memory.learned.service_s or 0.0) or memory.target
    if present is None:
        return policy, memory
    return replace(policy, target_wait_s=present.wait_s), replace(memory, target=present)


def _present_target(policy: ScalingPolicy, backlog: Backlog, service_s: float) -> PresentTarget | None:
    """Return the single target that needs as many slots as the most demanding priority; None = no job waits.

    No job needs more than a slot, so a target below the service time counts as the service time.
    """
    needs, before = [], 0
    for priority, jobs in _startable_by_priority(policy, backlog).items():
        target = _target_of(policy, priority)
        in_time = before + math.ceil(jobs * target.percentile / ALL_PERCENT)
        before += jobs
        if jobs:
            needs.append((in_time / max(target.wait_s, service_s), in_time, target))
    if not needs:
        return None
    starts_per_s, in_time, target = max(needs, key=lambda need: need[0])
    wait_s = target.wait_s if in_time == before else before / starts_per_s
    return PresentTarget(wait_s=wait_s, words=target.words)


def _target_of(policy: ScalingPolicy, priority: Priority) -> WaitTarget:
    default = WaitTarget(priority=priority, percentile=ALL_PERCENT, wait_s=policy.target_wait_s)
    return next((target for target in policy.targets if target.priority == priority), default)


def _startable_by_priority(policy: ScalingPolicy, backlog: Backlog) -> dict[Priority, int]:
    """Return the waiting jobs that all limits allow to start, highest priority first; a priority is `task` if unknown.

    Within a route, the highest priorities start first.
    """
    by_route, _ = startable(backlog.routes, backlog.bounds, within_s=policy.target_wait_s)
    found = dict.fromkeys(Priority, 0)
    found[Priority.TASK] += backlog.lost
    for route in backlog.routes:
        left = by_route[route.name]
        for priority in Priority:
            jobs = min(left, route.queued.get(priority, 0))
            found[priority] += jobs
            left -= jobs
        found[Priority.TASK] += left
    return found
