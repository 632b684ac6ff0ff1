"""Counting the outcomes of the demo's jobs."""

import json

from agentpool_local.demo.dispatch import DispatchClock
from agentpool_local.demo.execution_record import ExecutionRecord
from agentpool_local.demo.tally import Tally
from tests.unit.local.events import event


def tally_of(events, jobs, directory):
    tally = Tally(DispatchClock({}, 2), ExecutionRecord(directory))
    tally.expect(jobs)
    tally.feed(events)
    return tally


def record(directory, *runs, at=0.0):
    lines = [json.dumps({"event": "began", "job": job, "attempt": attempt, "at": at}) for job, attempt in runs]
    (directory / "1.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_endings_are_counted_for_the_demos_own_jobs_only(tmp_path):
    """Different jobs of the pool do not count."""
    events = [event("succeeded", "a", 1), event("failed", "b", 1), event("cancelled", "c", 1), event("failed", "x", 1)]
    tally = tally_of(events, {"a", "b", "c", "d"}, tmp_path)
    assert (tally.expected, tally.succeeded, tally.failed, tally.done) == (4, 1, 2, False)


def test_a_run_that_a_claim_explains_is_no_duplicate(tmp_path):
    """A lost worker's job runs again because the queue offered the job again."""
    events = [
        event("started", "a", 1),
        event("recovered", "a", 2),
        event("started", "a", 3, attempt=2),
        event("succeeded", "a", 4, attempt=2),
    ]
    record(tmp_path, ("a", 1), ("a", 2))
    assert tally_of(events, {"a"}, tmp_path).duplicates == 0


def test_a_run_beyond_the_claims_is_a_duplicate(tmp_path):
    """Two runs of an attempt that was claimed once are a duplicate."""
    record(tmp_path, ("a", 1), ("a", 1))
    assert tally_of([event("started", "a", 1), event("succeeded", "a", 2)], {"a"}, tmp_path).duplicates == 1


def test_a_second_success_is_a_duplicate(tmp_path):
    """The result of a job counts once."""
    events = [event("started", "a", 1), event("succeeded", "a", 2), event("succeeded", "a", 3)]
    assert tally_of(events, {"a"}, tmp_path).duplicates == 1


def test_a_line_is_read_once_and_whole(tmp_path):
    """A worker may be killed in the middle of a line; the reader waits for the whole line, and reads the line once."""
    record(tmp_path, ("a", 1))
    found = ExecutionRecord(tmp_path)
    with (tmp_path / "1.jsonl").open("a") as stream:
        stream.write('{"event": "began", "job": "b", ')
        stream.flush()
        found.read()
        assert found.runs == {("a", 1): 1}
        stream.write('"attempt": 1, "at": 2}\n')
    found.read()
    found.read()
    assert found.runs == {("a", 1): 1, ("b", 1): 1}


def test_the_delay_counts_to_the_handlers_first_line(tmp_path):
    """The delay ends with the recorded begin of the run, or else with the claim."""
    record(tmp_path, ("a", 1), at=0.105)
    events = [event("queued", job, 100) for job in "ab"] + [event("started", job, 102, worker="w") for job in "ab"]
    assert tally_of(events, {"a", "b"}, tmp_path).delays_ms() == [3.0, 0.0]
