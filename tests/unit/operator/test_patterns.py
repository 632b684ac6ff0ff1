"""The learned minimum: the load at the same time of past days raises the floor, and never lowers it."""

from __future__ import annotations

import pytest

from agentpool_core.spec.scaling import Scaling
from agentpool_operator.scaling.decide import decide
from agentpool_operator.scaling.decision import Cap
from agentpool_operator.scaling.memory import PoolMemory
from agentpool_operator.scaling.observation import Backlog, Observation
from agentpool_operator.scaling.patterns import raised_minimum
from agentpool_operator.scaling.policy import Minimum, ScalingPolicy

DAYS = "the load at this time of the last three days"
WEEKS = "the load at the same time of the last two weeks"


@pytest.mark.parametrize(
    ("past_loads", "replicas", "pattern"),
    [
        ({}, 1, ""),
        ({1: 40.0, 2: 40.0}, 1, ""),  # too few days
        ({1: 40.0, 2: 38.0, 3: 21.0}, 4, DAYS),  # the lowest of three days
        ({1: 40.0, 2: 0.0, 3: 40.0}, 1, ""),  # an idle day
        ({1: 0.0, 2: 0.0, 3: 0.0, 7: 30.0, 14: 25.0}, 5, WEEKS),  # a Monday after a quiet weekend
        ({1: 40.0, 2: 40.0, 3: 40.0, 7: 1.0, 14: 1.0}, 1, ""),  # a quiet Saturday after busy days
        ({1: 4.0, 2: 4.0, 3: 4.0, 7: 30.0}, 1, ""),  # one week is no pattern
        ({1: 900.0, 2: 900.0, 3: 900.0}, 12, DAYS),  # maxReplicas
        ({1: 2.4, 2: 2.4, 3: 2.4}, 1, ""),  # less than half a worker
    ],
)
def test_the_lowest_load_of_past_days_raises_the_minimum(past_loads, replicas, pattern):
    """Two weeks decide once known, before that three days; one exceptional day changes little."""
    found = raised_minimum(Minimum(replicas=1), past_loads, slots=5, most=12)
    assert found == Minimum(replicas=replicas, pattern=pattern)


def test_a_pattern_never_lowers_a_minimum():
    """The higher minimum of a schedule stays, with its name."""
    office = Minimum(replicas=6, schedule="office")
    assert raised_minimum(office, {1: 20.0, 2: 20.0, 3: 20.0}, slots=5, most=12) == office
    assert raised_minimum(office, {1: 40.0, 2: 40.0, 3: 40.0}, slots=5, most=12).replicas == 8


def test_the_decision_names_the_pattern():
    """The floor holds an empty pool; reason and cap name the pattern."""
    policy = ScalingPolicy(concurrency=5, min_replicas=4, pattern=DAYS)
    decision = decide(Observation(replicas=1, backlog=Backlog()), policy, PoolMemory(), 0.0)
    assert (decision.replicas, decision.capped_by) == (4, Cap.PATTERN)
    assert decision.reason == f"no job waits or runs; {DAYS} keeps 4"


def test_patterns_are_learned_on_request_only():
    """The field is off by default."""
    assert Scaling().learn_patterns is False
