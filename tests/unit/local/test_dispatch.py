"""Measuring the queue's own delay."""

import pytest
from hypothesis import given, strategies

from agentpool_core.jobs import WorkerId
from agentpool_local.demo.dispatch import DispatchClock, percentile
from tests.unit.local.events import event


def delays(events, *, limits=None, slots=2):
    clock = DispatchClock(limits or {}, slots)
    for each in events:
        clock.feed(each)
    return [claimed_at - could_run_at for could_run_at, claimed_at in clock.claims.values()]


def test_with_a_free_slot_the_delay_counts_from_the_submit():
    """An idle worker that has run before can claim a job at once; the time beyond that is the delay."""
    events = [
        event("queued", "a", 0),
        event("started", "a", 5, worker="w"),
        event("succeeded", "a", 10, worker="w"),
        event("queued", "b", 100),
        event("started", "b", 107, worker="w"),
    ]
    assert delays(events)[-1] == 7


def test_the_wait_for_a_full_route_does_not_count():
    """If the route was at its limit, the delay counts from the end that freed a place in the route."""
    events = [
        event("queued", "a", 0),
        event("queued", "b", 0),
        event("started", "a", 1, worker="w"),
        event("succeeded", "a", 500, worker="w"),
        event("started", "b", 503, worker="w"),
    ]
    assert delays(events, limits={"code": 1}, slots=9)[-1] == 3


def test_the_wait_for_busy_workers_does_not_count():
    """If every slot was busy, the delay counts from the end that freed a slot, in any route."""
    events = [
        event("queued", "a", 0),
        event("queued", "b", 0, route="text"),
        event("started", "a", 1, worker="w"),
        event("succeeded", "a", 500, worker="w"),
        event("started", "b", 504, route="text", worker="w"),
    ]
    assert delays(events, slots=1)[-1] == 4


def test_a_worker_counts_from_its_first_claim():
    """The time until the first worker starts is no delay of the queue."""
    events = [
        event("queued", "a", 0),
        event("queued", "b", 0),
        event("started", "a", 2000, worker="w"),
        event("started", "b", 2002, worker="w"),
    ]
    assert delays(events) == [0, 2]


def test_two_slots_that_open_at_once_are_measured_each():
    """The second of two claims after an end in a full route waits for the end before, not for its submit."""
    events = [
        *(event("queued", job, 0) for job in "abcd"),
        event("started", "a", 1, worker="w"),
        event("started", "b", 1, worker="w"),
        event("succeeded", "a", 100, worker="w"),
        event("succeeded", "b", 100, worker="w"),
        event("started", "c", 101, worker="w"),
        event("started", "d", 103, worker="w"),
    ]
    assert delays(events, limits={"code": 2}, slots=9)[-2:] == [1, 3]


def test_the_slots_of_a_lost_worker_are_gone_after_the_recovery():
    """After a recovery the delay counts from the time of the recovery."""
    events = [
        event("queued", "a", 0),
        event("started", "a", 1, worker="lost"),
        event("recovered", "a", 900, worker="lost"),
        event("started", "a", 950, worker="new", attempt=2),
    ]
    assert delays(events, slots=1)[-1] == 0


@pytest.mark.parametrize("change", ["returned", "preempted"])
def test_a_requeued_job_waits_from_its_requeue(change):
    """A second job takes the released slot first; the wait counts from the end of that job."""
    events = [
        event("queued", "a", 0),
        event("started", "a", 1, worker="w"),
        event("queued", "b", 80),
        event(change, "a", 100, worker="w"),
        event("started", "b", 102, worker="w"),
        event("succeeded", "b", 300, worker="w"),
        event("started", "a", 301, worker="w", attempt=2),
    ]
    assert delays(events, slots=1)[1:] == [2, 1]


def test_a_removed_worker_has_no_slots():
    """The wait for the workers that remain does not count as the queue's delay."""
    clock = DispatchClock({}, 1)
    for each in (
        event("started", "a", 1, worker="gone"),
        event("succeeded", "a", 2, worker="gone"),
        event("started", "b", 3, worker="here"),
        event("queued", "c", 3),
    ):
        clock.feed(each)
    clock.retire({WorkerId("here")})
    clock.feed(event("succeeded", "b", 900, worker="here"))
    clock.feed(event("started", "c", 901, worker="here"))
    assert clock.claims["c", 1] == (900, 901)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.99, 4), (0.0, 1), (1.0, 4)])
def test_percentiles_are_values_that_occurred(share, value):
    """The nearest rank is chosen, never a value in between."""
    assert percentile([4, 1, 3, 2], share) == value


@given(strategies.lists(strategies.integers()), strategies.floats(0, 1))
def test_a_percentile_covers_its_share(values, share):
    """At least that share of the values is at or below the percentile; an empty list has no percentile."""
    found = percentile(values, share)
    if not values:
        assert found is None
    else:
        assert sum(value <= found for value in values) >= share * len(values) - 1e-9
