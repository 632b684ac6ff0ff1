"""The bars of the fan-out case can fail: the verdict counts each forbidden event."""

from __future__ import annotations

from typing import Any

import pytest

from agentpool_core.jobs import HistoryEntry, Job, JobId, JobState, Priority, WorkerId
from bench.delegations import TTL_MS
from bench.fanout_verdict import Answer, judged

SENT_MS = 1_000_000
CRITICAL = ("critical", 0, (("started", 1),), 100, "succeeded")


def job(number: int, priority: str, at: int, events: Any, end: int, state: str) -> Job:
    """A job that was submitted `at` ms after the first job; its events and its end count from its submit."""
    history = [HistoryEntry(at_ms=SENT_MS + ms, type=name, attempt=1, worker=WorkerId("w")) for name, ms in events]
    times = {"submitted_at_ms": SENT_MS + at, "enqueued_at_ms": SENT_MS + at, "finished_at_ms": SENT_MS + end}
    times_and_worker = ("claimed_at_ms", "due_at_ms", "expires_at_ms", "worker")
    none = dict.fromkeys((*times_and_worker, "result", "last_error", "reason", "progress", "checkpoint"))
    return Job(
        job_id=JobId(f"j{number}"), state=JobState(state), kind="delegation", route="default",
        priority=Priority(priority), payload=None, attempt=1, max_attempts=5, timeout_ms=1, after=(),
        idempotency_key=f"k{number}", cancel_requested=False, history=tuple(history), **times, **none,
    )  # fmt: skip


def outcome(*jobs: tuple, keys: list[str] | None = None, refused: int = 0):
    """The verdict on these jobs and on this number of refusals. Without `keys`, each job has a different key."""
    kept = {
        one.job_id: one for one in (job(number, *fields) for number, fields in enumerate((*jobs, CRITICAL, CRITICAL)))
    }
    names = [*(keys or [f"k{number}" for number in range(len(jobs))]), "critical-1", "critical-2"]
    answers = [
        Answer(key=key, job_id=one.job_id, sent_ms=one.submitted_at_ms, took_s=0.01)
        for key, one in zip(names, kept.values(), strict=True)
    ]
    answers += [Answer(key=f"refused-{n}", job_id=None, sent_ms=SENT_MS, took_s=0.01) for n in range(refused)]
    return judged(answers, kept, 1.0)


TASK = ("task", 0, (("started", 10),), 100, "succeeded")
LATER = ("task", 5, (("started", 20),), 100, "succeeded")
INFO = ("info", 0, (("started", 30),), 100, "succeeded")


def test_a_correct_round_counts_no_fault():
    """No job is dropped or runs twice, each task keeps its turn, and a job that yielded ran once."""
    yielding = ("info", 0, (("started", 30), ("preempted", 40), ("started", 50)), 100, "succeeded")
    expired = ("info", 0, (), TTL_MS, "expired")
    found = outcome(TASK, LATER, INFO, yielding, expired)
    assert (found.dropped, found.run_twice, found.ran, found.yielded) == (0, 0, 6, 1)
    assert (found.tasks, found.tasks_in_turn) == (2, 2)
    assert (found.infos, found.info_expired, found.info_mistimed) == (3, 1, 0)


@pytest.mark.parametrize(
    ("jobs", "keys"),
    [((TASK, TASK), ["same", "same"]), ((("task", 0, (("started", 10), ("started", 20)), 100, "succeeded"),), None)],
)
def test_repeated_work_is_counted_by_its_key(jobs: tuple, keys: list[str] | None):
    """Two jobs of a key, and two runs of a job, count as run twice."""
    assert outcome(*jobs, keys=keys).run_twice == 1


@pytest.mark.parametrize(
    ("info", "dropped"),
    [
        (("info", 0, (), TTL_MS - 1, "expired"), 1),
        (("info", 0, (("started", TTL_MS + 1),), TTL_MS + 2, "succeeded"), 0),
    ],
)
def test_an_info_that_breaks_its_ttl_is_counted(info: tuple, dropped: int):
    """An early expiry counts as mistimed and as dropped; a late start only as mistimed."""
    found = outcome(TASK, info)
    assert (found.info_mistimed, found.dropped) == (1, dropped)


@pytest.mark.parametrize(
    "jobs",
    [
        (("task", 0, (("started", 30),), 100, "succeeded"), LATER),
        (("task", 0, (("started", 40),), 100, "succeeded"), INFO),
        (("task", 0, (("started", 10),), 100, "failed"),),
    ],
)
def test_a_task_behind_less_urgent_work_is_out_of_turn(jobs: tuple):
    """A task is out of turn if a later task or an info started first, or if the task never succeeded."""
    found = outcome(*jobs)
    assert found.tasks_in_turn == found.tasks - 1


def test_refused_and_failed_delegations_are_dropped():
    """A refused delegation counts as dropped, and so does a failed job."""
    assert outcome(TASK, refused=2).dropped == 2
    assert outcome(TASK, ("task", 0, (("started", 1),), 100, "failed")).dropped == 1
