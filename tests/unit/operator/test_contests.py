"""Contests about a Deployment, and refused writes: damped, never endless."""

from __future__ import annotations

import pytest

from agentpool_operator.children.contests import FREE_CORRECTIONS, LONGEST_PAUSE_SECONDS, YIELD_SECONDS, Contests
from agentpool_operator.children.refused_writes import LONGEST_PAUSE_SECONDS as LONGEST_REFUSED_SECONDS
from agentpool_operator.children.refused_writes import RefusedWrites
from agentpool_operator.pools.problems import Problem


class Clock:
    """Seconds that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def corrections(contests, clock, *, seconds):
    """How often a Deployment is corrected that is wrong at every look, five times a second."""
    count = 0
    for _ in range(seconds * 5):
        if contests.may_correct("d"):
            contests.note_correction("d")
            count += 1
        clock.now += 0.2
    return count


def test_a_few_corrections_are_immediate_and_later_corrections_are_damped(clock):
    """In ten minutes, a controller that reverts each correction causes a dozen writes, not thousands."""
    contests = Contests(clock=clock)
    assert corrections(contests, clock, seconds=1) == FREE_CORRECTIONS
    assert corrections(contests, clock, seconds=590) <= 7


def test_a_contest_that_has_ended_is_forgotten(clock):
    """Later mistakes by hand are corrected at once."""
    contests = Contests(clock=clock)
    corrections(contests, clock, seconds=60)
    clock.now += 2 * LONGEST_PAUSE_SECONDS
    assert contests.may_correct("d")


def test_of_two_operators_the_later_name_yields_after_a_single_attempt(clock):
    """The mark of a stopped operator is taken over; a live operator restores its mark."""
    contests = Contests(clock=clock)
    assert not contests.yields("d", own="b/op", other="a/op")
    contests.note_correction("d")
    assert not contests.yields("d", own="a/op", other="b/op")
    assert contests.yields("d", own="b/op", other="a/op")
    clock.now += YIELD_SECONDS
    assert not contests.yields("d", own="b/op", other="a/op")


def test_a_refused_write_is_repeated_less_and_less_often(clock):
    """A quota that refuses many pools costs few writes; a changed pool is tried at once."""
    refused, problem = RefusedWrites(clock=clock), Problem(reason="R", message="m")
    writes = 0
    for _ in range(600):
        if refused.problem_of("u", "digest") is None:
            refused.note("u", "digest", problem)
            writes += 1
        clock.now += 1.0
    assert writes <= 10
    assert refused.problem_of("u", "digest") == problem
    assert refused.problem_of("u", "changed") is None
    clock.now += LONGEST_REFUSED_SECONDS
    assert refused.problem_of("u", "digest") is None
