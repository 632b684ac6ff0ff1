"""The comparison at each renewal: a difference counts if two renewals see the difference."""

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
    """A claim may be in flight at a renewal, but not at two renewals."""
    agreement = Agreement()
    assert not agreement.broken({}, {FIRST}, {})
    assert agreement.broken({}, {FIRST}, {})


def test_an_entry_that_only_the_worker_holds_is_a_difference_the_second_time():
    """A completion may be in flight at a renewal, but not at two renewals."""
    agreement = Agreement()
    assert not agreement.broken(holding(FIRST), set(), holding(FIRST))
    assert agreement.broken(holding(FIRST), set(), holding(FIRST))


def test_new_and_ended_jobs_are_no_difference():
    """Each renewal meets different calls in flight, so a different entry is missing each time."""
    agreement = Agreement()
    assert not agreement.broken({}, {FIRST}, holding(FIRST))
    assert not agreement.broken(holding(FIRST), set(), {})
    assert not agreement.broken({}, {SECOND}, {})
    assert not agreement.broken({}, {FIRST}, {})


def test_a_lease_with_a_new_token_is_a_different_lease():
    """A job that returned under a new token at the same place does not continue the earlier difference."""
    agreement = Agreement()
    assert not agreement.broken(holding(FIRST), set(), holding(FIRST))
    assert not agreement.broken(holding(FIRST), set(), holding(FIRST, token=2))
    assert not agreement.broken(holding(FIRST, token=2), set(), holding(FIRST, token=2))
    assert agreement.broken(holding(FIRST, token=2), set(), holding(FIRST, token=2))
