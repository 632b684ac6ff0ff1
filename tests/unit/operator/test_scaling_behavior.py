"""HPA version 2's published behaviour, as tables."""

from __future__ import annotations

import math

import pytest

from agentpool_core.spec.rates import PolicyType, SelectPolicy
from agentpool_operator.scaling import behavior
from agentpool_operator.scaling.memory import Change, Recommendation, remember
from agentpool_operator.scaling.policy import RatePolicy, ScalingRules

PODS_4_IN_60 = RatePolicy(kind=PolicyType.PODS, value=4, period_s=60)
PERCENT_10_IN_60 = RatePolicy(kind=PolicyType.PERCENT, value=10, period_s=60)
PERCENT_100_IN_15 = RatePolicy(kind=PolicyType.PERCENT, value=100, period_s=15)
PODS_4_IN_15 = RatePolicy(kind=PolicyType.PODS, value=4, period_s=15)
HPA_UP = ScalingRules(policies=(PERCENT_100_IN_15, PODS_4_IN_15))


@pytest.mark.parametrize(
    ("current", "ceiling"),
    [(0, 4), (1, 5), (3, 7), (4, 8), (5, 10), (50, 100)],
)
def test_the_default_scale_up_doubles_or_adds_four(current, ceiling):
    """HPA's default scale-up: 100 per cent or 4 pods in 15 s, whichever is more."""
    assert behavior.ceiling(now=0, current=current, changes=(), rules=HPA_UP) == ceiling


@pytest.mark.parametrize(
    ("current", "floor"),
    [(80, 72), (72, 64), (40, 36), (12, 8), (8, 4), (4, 0)],
)
def test_the_documented_scale_down_example(current, floor):
    """The documentation's example: 4 pods or 10 per cent a minute, whichever removes more."""
    rules = ScalingRules(policies=(PODS_4_IN_60, PERCENT_10_IN_60))
    assert behavior.floor(now=0, current=current, changes=(), rules=rules) == floor


def test_min_selects_the_smallest_change():
    """SelectPolicy Min takes the policy that changes least."""
    rules = ScalingRules(policies=(PODS_4_IN_60, PERCENT_10_IN_60), select=SelectPolicy.MIN)
    assert behavior.floor(now=0, current=80, changes=(), rules=rules) == 76
    assert behavior.ceiling(now=0, current=80, changes=(), rules=rules) == 84


def test_disabled_forbids_the_direction():
    """SelectPolicy Disabled keeps the size."""
    rules = ScalingRules(select=SelectPolicy.DISABLED)
    assert behavior.floor(now=0, current=8, changes=(), rules=rules) == 8
    assert behavior.ceiling(now=0, current=8, changes=(), rules=rules) == 8


def test_without_policies_a_direction_is_unbounded():
    """Without a policy the size may change by any amount."""
    assert behavior.ceiling(now=0, current=1, changes=(), rules=ScalingRules()) == math.inf
    assert behavior.floor(now=0, current=100, changes=(), rules=ScalingRules()) == 0


def test_changes_within_the_period_count_against_the_policy():
    """The policy counts from the size at the begin of the period, not from the present size."""
    recent = (Change(at=-30.0, delta=3),)
    rules = ScalingRules(policies=(PODS_4_IN_60,))
    assert behavior.ceiling(now=0, current=8, changes=recent, rules=rules) == 9
    for at in (-60.0, -61.0):  # a change at the very begin is in the size at the begin
        assert behavior.ceiling(now=0, current=8, changes=(Change(at=at, delta=3),), rules=rules) == 12


@pytest.mark.parametrize(
    ("current", "desired", "left_alone"),
    [(10, 11, True), (10, 9, True), (10, 12, False), (10, 8, False), (1, 2, False), (0, 1, False), (5, 0, False)],
)
def test_the_default_tolerance_is_a_tenth(current, desired, left_alone):
    """A tenth more or less is left alone; zero is always left."""
    rules = ScalingRules(tolerance=0.1)
    assert behavior.within_tolerance(current=current, desired=desired, up=rules, down=rules) is left_alone


@pytest.mark.parametrize(("desired", "left_alone"), [(15, False), (11, False), (5, True), (4, False)])
def test_each_direction_has_its_own_tolerance(desired, left_alone):
    """A pool may grow at once and shrink only by more than half."""
    rules = {"up": ScalingRules(tolerance=0.0), "down": ScalingRules(tolerance=0.5)}
    assert behavior.within_tolerance(current=10, desired=desired, **rules) is left_alone


@pytest.mark.parametrize(
    ("past", "current", "desired", "settled"),
    [
        ([(-10, 8)], 8, 2, 8),  # the recent most holds the size up
        ([(-10, 8), (-5, 5)], 8, 2, 8),
        ([(-301, 8), (-5, 5)], 8, 2, 5),  # older than the window
        ([(-300, 8), (-5, 5)], 8, 2, 5),  # as old as the window
        ([(-10, 2)], 2, 9, 9),  # no scale-up window: at once
    ],
)
def test_the_scale_down_window_uses_the_recent_maximum(past, current, desired, settled):
    """Scale-down waits until the whole window agrees; scale-up does not."""
    got = behavior.stabilize(
        now=0,
        current=current,
        desired=desired,
        recommendations=[Recommendation(at=at, replicas=replicas) for at, replicas in past],
        up=ScalingRules(),
        down=ScalingRules(stabilization_s=300),
    )
    assert got == settled


def test_a_scale_up_window_uses_the_recent_minimum():
    """With a scale-up window the size rises only to the lowest recommendation in the window."""
    got = behavior.stabilize(
        now=0,
        current=2,
        desired=9,
        recommendations=[Recommendation(at=-5, replicas=4)],
        up=ScalingRules(stabilization_s=30),
        down=ScalingRules(),
    )
    assert got == 4


def test_a_steady_history_stays_short():
    """Entries that can never be the maximum again are dropped."""
    history = ()
    for second in range(1000):
        history = remember(history, Recommendation(at=second, replicas=5), horizon_s=300, exact=False)
    assert len(history) == 1
