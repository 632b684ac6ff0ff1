"""Results of a lead's delegations, from the answers and from the records of the jobs.

A delegation is identified by its key, not by the job id of an answer: two jobs of a key would be duplicate work. Expiry
is judged by the lead's clock and the TTL that it sent, order by the queue's clock, which wrote the histories.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.jobs import JobState
from bench.delegations import TTL_MS, Outcome, p99

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentpool_core.jobs import Job, JobId


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Answer to a message of the lead."""

    key: str
    job_id: JobId | None  # None: refused
    sent_ms: int  # wall clock, rounded down as the queue's
    took_s: float


def judged(answers: Sequence[Answer], jobs: Mapping[JobId, Job], took_s: float) -> Outcome:
    """Return the round's outcome; `jobs` are all kept records, `took_s` the time until the last answer."""
    by_key: dict[str, set[JobId]] = defaultdict(set)
    sent_ms: dict[str, int] = {}
    for answer in answers:
        sent_ms[answer.key] = min(answer.sent_ms, sent_ms.get(answer.key, answer.sent_ms))
        by_key[answer.key] |= {answer.job_id} if answer.job_id else set()
    kept = {key: [jobs[job_id] for job_id in ids] for key, ids in by_key.items()}
    runs = [sum(map(_runs, of_key)) for of_key in kept.values()]
    served = {key for key, of_key in kept.items() if any(_served(job, sent_ms[key]) for job in of_key)}
    tasks, infos = _of(jobs, "task"), _of(jobs, "info")
    expired = {key: job for key, of_key in kept.items() for job in of_key if job.state is JobState.EXPIRED}
    return Outcome(
        dropped=sum(answer.job_id is None or answer.key not in served for answer in answers),
        run_twice=sum(count > 1 for count in runs),
        ran=sum(runs),
        makespan_s=_makespan_s(list(jobs.values())),
        answer_p99_s=p99([answer.took_s for answer in answers]),
        answers_per_s=len(answers) / took_s,
        critical_p99_s=p99([_wait_ms(job) / 1000 for job in _of(jobs, "critical")]),
        infos=len(infos),
        info_expired=len(expired),
        info_mistimed=sum(not _served(job, sent_ms[key]) for key, job in expired.items()) + sum(map(_late, infos)),
        tasks=len(tasks),
        tasks_in_turn=sum(job.state is JobState.SUCCEEDED and not _overtaken(job, tasks, infos) for job in tasks),
        longest_task_wait_s=max(map(_wait_ms, tasks)) / 1000,
        yielded=sum(_times(job, "preempted") for job in jobs.values()),
    )


def _of(jobs: Mapping[JobId, Job], priority: str) -> list[Job]:
    return [job for job in jobs.values() if job.priority.value == priority]


def _served(job: Job, sent_ms: int) -> bool:
    """Return whether the job ran to the end, or was an info with an expired TTL."""
    return job.state is JobState.SUCCEEDED or (
        job.state is JobState.EXPIRED and (job.finished_at_ms or 0) >= sent_ms + TTL_MS
    )


def _late(info: Job) -> bool:
    """Return whether the job started although its TTL had passed."""
    begun = _begun_ms(info)
    return begun is not None and begun > info.submitted_at_ms + TTL_MS


def _overtaken(task: Job, tasks: Sequence[Job], infos: Sequence[Job]) -> bool:
    """Return whether a job of lower rank than this task started first: a later task, or any info."""
    until = _begun_ms(task) or task.finished_at_ms or 0
    since = task.submitted_at_ms
    return any(other.submitted_at_ms > since and (_begun_ms(other) or until) < until for other in tasks) or any(
        since < (_begun_ms(other) or until) < until for other in infos
    )


def _runs(job: Job) -> int:
    """Return the number of handler starts without a preemption."""
    return _times(job, "started") - _times(job, "preempted")


def _times(job: Job, event: str) -> int:
    """Return the number of these events of the job."""
    return sum(entry.type == event for entry in job.history)


def _begun_ms(job: Job) -> int | None:
    """Return the time of the first claim; None if never claimed."""
    return next((entry.at_ms for entry in job.history if entry.type == "started"), None)


def _wait_ms(job: Job) -> int:
    """Return the wait until the first claim, or until the end without a claim."""
    return (_begun_ms(job) or job.finished_at_ms or 0) - job.submitted_at_ms


def _makespan_s(jobs: Sequence[Job]) -> float:
    """From the first submit to the last end."""
    return (max(job.finished_at_ms or 0 for job in jobs) - min(job.submitted_at_ms for job in jobs)) / 1000
