"""Counting what became of the demo's jobs."""

import json

from agentpool_local.dispatch import DispatchClock
from agentpool_local.tally import Tally
from tests.unit.local.events import event


def tally_of(events, jobs):
    tally = Tally(DispatchClock({}, 2))
    tally.expect(jobs)
    tally.feed(events)
    return tally


def record(directory, *runs):
    lines = [json.dumps({"event": "began", "job": job, "attempt": attempt, "at": 0}) for job, attempt in runs]
    (directory / "1.jsonl").write_text("\n".join(lines))


def test_endings_are_counted_for_the_demos_own_jobs_only():
    """What else the pool runs is none of the demo's figures."""
    events = [event("succeeded", "a", 1), event("failed", "b", 1), event("cancelled", "c", 1), event("failed", "x", 1)]
    tally = tally_of(events, {"a", "b", "c", "d"})
    assert (tally.expected, tally.succeeded, tally.failed, tally.done) == (4, 1, 2, False)


def test_a_run_that_a_claim_explains_is_no_duplicate(tmp_path):
    """A lost worker's job runs again because the queue handed it out again."""
    events = [
        event("started", "a", 1),
        event("recovered", "a", 2),
        event("started", "a", 3, attempt=2),
        event("succeeded", "a", 4, attempt=2),
    ]
    record(tmp_path, ("a", 1), ("a", 2))
    assert tally_of(events, {"a"}).duplicates(tmp_path) == 0


def test_a_run_beyond_the_claims_is_a_duplicate(tmp_path):
    """Two runs of one attempt that was handed out once are one too many."""
    record(tmp_path, ("a", 1), ("a", 1))
    assert tally_of([event("started", "a", 1), event("succeeded", "a", 2)], {"a"}).duplicates(tmp_path) == 1


def test_a_second_success_is_a_duplicate(tmp_path):
    """A job's result counts once."""
    events = [event("started", "a", 1), event("succeeded", "a", 2), event("succeeded", "a", 3)]
    assert tally_of(events, {"a"}).duplicates(tmp_path) == 1


def test_a_line_that_was_cut_off_is_no_run(tmp_path):
    """A killed worker may leave half a line."""
    record(tmp_path, ("a", 1))
    with (tmp_path / "1.jsonl").open("a") as stream:
        stream.write('\n{"event": "beg')
    assert tally_of([event("started", "a", 1)], {"a"}).duplicates(tmp_path) == 0
