"""How fast a recommendation may be followed: stabilisation windows and rate policies, as in HPA version 2.

Semantics follow the HorizontalPodAutoscaler's published algorithm
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior):
the most cautious recommendation of the window wins, then the policies bound the change against the size at
the period's beginning. `decide` takes over next.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentpool_core.spec.rates import PolicyType, SelectPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool_operator.scaling.memory import Change, Recommendation
    from agentpool_operator.scaling.policy import RatePolicy, ScalingRules

ROUNDING = 1e-9  # pods: a floating-point tenth of ten must not exceed one pod


def stabilize(
    *,
    now: float,
    current: int,
    desired: int,
    recommendations: Iterable[Recommendation],
    up: ScalingRules,
    down: ScalingRules,
) -> int:
    """Return the size within both windows: not above the recent least, not below the recent most."""
    highest_up = desired
    lowest_down = desired
    for past in recommendations:
        if past.at > now - up.stabilization_s:
            highest_up = min(highest_up, past.replicas)
        if past.at > now - down.stabilization_s:
            lowest_down = max(lowest_down, past.replicas)
    return min(max(current, highest_up), lowest_down)


def within_tolerance(*, current: int, desired: int, up: ScalingRules, down: ScalingRules) -> bool:
    """Return whether the difference is too small to act on. A size of zero is always left."""
    if current == 0 or desired in {0, current}:
        return current == desired
    tolerance = up.tolerance if desired > current else down.tolerance
    return abs(desired - current) <= tolerance * current + ROUNDING


def ceiling(*, now: float, current: int, changes: Iterable[Change], rules: ScalingRules) -> float:
    """Return the most replicas that the scale-up policies allow now; infinite without policies."""
    if rules.select is SelectPolicy.DISABLED:
        return current
    if not rules.policies:
        return math.inf
    past = tuple(changes)
    allowed = [_highest_allowed(_at_period_start(now, current, past, p), p) for p in rules.policies]
    limit = max(allowed) if rules.select is SelectPolicy.MAX else min(allowed)
    return max(limit, current)


def floor(*, now: float, current: int, changes: Iterable[Change], rules: ScalingRules) -> int:
    """Return the fewest replicas that the scale-down policies allow now; 0 without policies."""
    if rules.select is SelectPolicy.DISABLED:
        return current
    if not rules.policies:
        return 0
    past = tuple(changes)
    allowed = [_lowest_allowed(_at_period_start(now, current, past, p), p) for p in rules.policies]
    limit = min(allowed) if rules.select is SelectPolicy.MAX else max(allowed)
    return max(0, min(limit, current))


def _at_period_start(now: float, current: int, changes: tuple[Change, ...], policy: RatePolicy) -> int:
    """Return the size at the beginning of the policy's period, from the changes since."""
    return current - sum(change.delta for change in changes if change.at > now - policy.period_s)


def _highest_allowed(start: int, policy: RatePolicy) -> int:
    if policy.kind is PolicyType.PODS:
        return start + policy.value
    return math.ceil(start * (100 + policy.value) / 100)


def _lowest_allowed(start: int, policy: RatePolicy) -> int:
    if policy.kind is PolicyType.PODS:
        return start - policy.value
    return start * (100 - policy.value) // 100
