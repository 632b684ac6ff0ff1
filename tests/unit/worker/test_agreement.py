"""The comparison at each renewal: a difference is real when two renewals see it; one sees calls on their way."""

from __future__ import annotations

from agentpool_core.jobs import JobId, LeaseToken
from agentpool_core.queue.completions import Hold, Place
from agentpool_worker.lease.agreement import Agreement

FIRST, SECOND = Place("default:task", "1-0"), Place("default:task", "1-1")


def holding(place: Place, token: int = 1) -> dict[JobId, Hold]:
    return {JobId(place.entry): Hold(LeaseToken(token), place)}


def test_equal_holdings_agree():
    """The same entries on both sides, however often they are compared."""
    agreement = Agreement()
    for _ in range(3):
        assert not agreement.broken(holding(FIRST), {FIRST}, holding(FIRST))


def test_an_entry_that_only_the_queue_holds_is_a_difference_the_second_time():
    """A claim may be on its way once; not for a whole interval."""
    agreement = Agreement()
    assert not agreement.broken({}, {FIRST}, {})
    assert agreement.broken({}, {FIRST}, {})


def test_an_entry_that_only_the_worker_holds_is_a_difference_the_second_time():
    """An end may be on its way once; not for a whole interval."""
    agreement = Agreement()
    assert not agreement.broken(holding(FIRST), set(), holding(FIRST))
    assert agreement.broken(holding(FIRST), set(), holding(FIRST))


def test_jobs_that_come_and_go_are_no_difference():
    """Each renewal finds other calls on their way; what was claimed or ended around it is held by one side only."""
    agreement = Agreement()
    assert not agreement.broken({}, {FIRST}, holding(FIRST))
    assert not agreement.broken(holding(FIRST), set(), {})
    assert not agreement.broken({}, {SECOND}, {})
    assert not agreement.broken({}, {FIRST}, {})


def test_a_lease_that_was_renewed_meanwhile_is_another():
    """A job that came back under another token at the same place is not the one that was missing."""
    agreement = Agreement()
    assert not agreement.broken(holding(FIRST), set(), holding(FIRST))
    assert not agreement.broken(holding(FIRST), set(), holding(FIRST, token=2))
    assert not agreement.broken(holding(FIRST, token=2), set(), holding(FIRST, token=2))
    assert agreement.broken(holding(FIRST, token=2), set(), holding(FIRST, token=2))
