"""The reason why a job has not begun, as a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.cli.job_tables import history_table
from agentpool_core.cli.queue_tables import workers_table
from agentpool_core.jobs import HistoryEntry, Job, JobId, JobState, Priority, WorkerId
from agentpool_core.pending_reason import pending_reason
from agentpool_core.queue.limits import LimitBy
from agentpool_core.queue.snapshots import LimitSnapshot, QueueSnapshot, RouteSnapshot, WorkerSnapshot

NOW_MS = 100_000
LOST = "the process of worker w ended with exit code 7"
JOB = Job(
    job_id=JobId("a"), state=JobState.QUEUED, kind="code", route="code", priority=Priority.TASK, payload=None,
    attempt=0, max_attempts=3, timeout_ms=1_000, submitted_at_ms=NOW_MS, enqueued_at_ms=NOW_MS, claimed_at_ms=None,
    finished_at_ms=None, due_at_ms=None, expires_at_ms=None, worker=None, result=None, last_error=None, reason=None,
    progress=None, checkpoint=None, after=(), idempotency_key=None, cancel_requested=False, history=(),
)  # fmt: skip
WORKER = WorkerSnapshot(name=WorkerId("w"), slots=2, running=0, host="h", lease_expires_at_ms=NOW_MS + 10_000)
ROUTE = RouteSnapshot(name="code", limit=2, queued={Priority.TASK: 3}, running=0)
QUEUE = QueueSnapshot(
    taken_at_ms=NOW_MS, routes=(ROUTE,), scheduled=0, blocked=0, dead=0, oldest_wait_ms=0, workers=(WORKER,),
    submitted_total=0, started_total=0, finished_total=0, run_ms_total=0, paused=False, settings_revision="1",
)  # fmt: skip
LIMIT = LimitSnapshot(
    name="per-key", by=LimitBy.KEY, text="2 at once", waiting=1, routes=None, free=None, interval_ms=None
)
AT_LIMIT = "the job waits for the limit 'per-key' of 2 at once"
RETRIED = {
    "due_at_ms": NOW_MS + 30_000,
    "attempt": 1,
    "last_error": "no",
    "history": (HistoryEntry(at_ms=1, type="retrying", attempt=1, worker=None),),
}
UNKNOWN = {
    "due_at_ms": NOW_MS + 30_000,
    "reason": "unknown_kind",
    "history": (HistoryEntry(at_ms=1, type="returned", attempt=1, worker=None),),
}
OVERLOADED = {
    **RETRIED,
    "reason": "overloaded",
    "history": (*RETRIED["history"], HistoryEntry(at_ms=2, type="returned", attempt=2, worker=None)),
}


@pytest.mark.parametrize(
    ("job", "queue", "says"),
    [
        ({}, {"retired": True, "paused": True}, "the AgentPool is deleted"),
        ({}, {"paused": True}, "the pool is paused"),
        ({}, {"workers": ()}, "no worker claims jobs"),
        ({}, {"cordoned": frozenset({"w"})}, "no worker claims jobs"),
        ({}, {"workers": (replace(WORKER, lease_expires_at_ms=NOW_MS - 1),)}, "no worker claims jobs"),
        ({}, {"workers": (replace(WORKER, running=2),)}, "all 2 slots of 1 worker are in use (3 jobs of this route"),
        ({}, {"routes": (replace(ROUTE, running=2),)}, "route 'code' has reached its limit with 2 running jobs (3"),
        (
            {},
            {"routes": (replace(ROUTE, paused_ms=9_000),)},
            "route 'code' is paused for 9.0s: a handler was overloaded",
        ),
        (
            {},
            {"workers": (replace(WORKER, running=1),), "routes": (replace(ROUTE, slots=2),)},
            "the job starts when a worker has 2 free slots, or no running job (3 jobs of this route",
        ),
        (
            {},
            {"workers": (replace(WORKER, running=1),), "routes": (replace(ROUTE, slots=2, running=1),)},
            "all 2 slots of 1 worker are in use (3 jobs of this route",
        ),
        ({}, {}, "the job is about to start"),
        ({"state": JobState.SCHEDULED, "due_at_ms": NOW_MS + 30_000}, {}, "the job is due in 30s"),
        ({"state": JobState.SCHEDULED, **RETRIED}, {}, "the job is due in 30s after attempt 1 failed"),
        ({"state": JobState.SCHEDULED, **UNKNOWN}, {}, "no running worker has a handler for kind 'code': start a"),
        ({"quarantined": True, "losses": 2}, {}, "the job is in quarantine, because 2 workers ended while running it"),
        (
            {"held_by": "per-key", "limit_key": "acme"},
            {"limits": (LIMIT,)},
            f"{AT_LIMIT} for the key 'acme' (1 job waits",
        ),
        ({"held_by": "per-key"}, {"limits": (replace(LIMIT, by=None, waiting=2),)}, f"{AT_LIMIT} (2 jobs wait for it)"),
        ({"held_by": "gone"}, {"limits": (LIMIT,)}, "the job waits for the limit 'gone', which the pool no longer has"),
        ({"held_by": "per-key"}, {"limits": (LIMIT,), "paused": True}, "the pool is paused"),
        ({"state": JobState.SCHEDULED, **UNKNOWN, **RETRIED}, {}, "the job is due in 30s after attempt 1 failed"),
        ({"state": JobState.WAITING, "due_at_ms": NOW_MS + 30_000}, {}, "the job sleeps for 30s"),
        (
            {"state": JobState.WAITING, "due_at_ms": NOW_MS + 30_000, "held_by": "team"},
            {},
            "budget 'team' has too little money left for the job's next call: its next window is in 30s",
        ),
        (
            {"state": JobState.WAITING, "held_by": "team"},
            {},
            "budget 'team' has too little money left for the job's next call, and the job waits for its next window",
        ),
        ({"state": JobState.WAITING}, {}, "the job sleeps"),
        (
            {"state": JobState.WAITING, "waits_for": ("a", "b"), "due_at_ms": NOW_MS + 30_000},
            {},
            "the job waits for signal 'a' or signal 'b', for 30s at the longest: agentpool signal a NAME VALUE",
        ),
        (
            {"state": JobState.WAITING, "waits_for": ("go",)},
            {},
            "the job waits for signal 'go': agentpool signal a go VALUE",
        ),
        (
            {"state": JobState.WAITING, "waits_for": ("message",), "question": "Which city?"},
            {},
            "the job waits for signal 'message' to the question 'Which city?': agentpool signal a message VALUE",
        ),
        ({"state": JobState.BLOCKED, "after": (JobId("p"), JobId("q"))}, {}, "the job waits for p, q"),
    ],
)
def test_the_cause_of_a_pending_job_is_reported(job, queue, says):
    """The first applicable cause is reported; causes that hold back all jobs come before causes of a single job."""
    assert pending_reason(replace(JOB, **job), replace(QUEUE, **queue)).startswith(says)


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_has_begun_or_ended_has_no_pending_reason(state):
    """The state of the pool does not matter."""
    assert pending_reason(replace(JOB, state=state), QUEUE) is None


@pytest.mark.parametrize("deferred", [OVERLOADED, {**UNKNOWN, "history": ()}])
def test_a_deferred_job_is_due_without_the_failure_of_an_earlier_attempt(deferred):
    """The latest change explains the wait, also where the record has lost the changes."""
    job = replace(JOB, **{"state": JobState.SCHEDULED, **deferred})
    assert pending_reason(job, QUEUE) == "the job is due in 30s"


def test_the_history_has_the_reasons_of_recovery_and_quarantine():
    """The record keeps only the latest error; earlier changes have a general message."""
    changes = ("queued", "started", "recovered", "started", "recovered", "quarantined")
    history = tuple(HistoryEntry(at_ms=NOW_MS, type=change, attempt=1, worker=WorkerId("w")) for change in changes)
    lines = history_table(replace(JOB, last_error=f"{LOST}\nLast log lines:\nx", history=history)).splitlines()
    assert all(line.endswith("its worker was lost") for line in (lines[3], lines[5]))
    assert lines[6].endswith(LOST)


def test_the_worker_that_runs_jobs_in_quarantine_is_marked():
    """The free slots of such a worker claim no different job."""
    queue = replace(QUEUE, workers=(WORKER, replace(WORKER, name=WorkerId("v"))), reserved=WORKER.name)
    marked, other = workers_table(queue).splitlines()[1:]
    assert marked.endswith("reserved for jobs in quarantine")
    assert "reserved" not in other
