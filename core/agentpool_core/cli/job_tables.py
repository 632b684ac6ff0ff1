"""Tables of jobs: rows of a list, the history of a job, its durable steps. Pure."""

from __future__ import annotations

from agentpool_core.cli.output import first_line, table
from agentpool_core.durations import format_duration
from agentpool_core.jobs import FAILURES, REASONED, Job, JobState
from agentpool_core.text import format_count

ENDED_WITHOUT_RESULT = frozenset({JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
MEANING = {  # of changes without a stored reason
    "recovered": "its worker was lost",
    "quarantined": "its worker was lost again: it runs alone from now on",
}
HEADERS = ("job", "kind", "priority", "state", "attempts", "worker", "age")
WIDE_HEADERS = (*HEADERS, "route", "tenant", "tags", "why")


def end_of(job: Job) -> list[str]:
    """Return the reason of an end without a result, in a line; none for other jobs."""
    reason = first_line(job.error) if job.state is JobState.FAILED else job.reason
    return [f"{job.state}: {reason}"] if reason and job.state in ENDED_WITHOUT_RESULT else []


def job_row(job: Job, now_ms: int, *, wide: bool) -> tuple[object, ...]:
    """Return a job as a row under `HEADERS`, or `WIDE_HEADERS`; ages are of the Redis clock."""
    row = (
        job.job_id,
        job.kind,
        job.priority,
        job.state,
        f"{job.attempt}/{job.max_attempts}",
        job.worker if job.state is JobState.RUNNING else None,
        format_duration(now_ms - job.submitted_at_ms),
    )
    if not wide:
        return row
    error = job.error if job.state.terminal else job.last_error
    why = first_line(error) if error else job.reason
    return (*row, job.route, job.tenant, " ".join(job.tags), why)


def _reasons(job: Job) -> dict[int, str | None]:
    """Return reasons by place in the history: a record keeps only the latest error and the latest reason."""
    found: dict[int, str | None] = {number: MEANING.get(entry.type) for number, entry in enumerate(job.history)}
    for types, why in ((FAILURES, first_line(job.last_error)), (REASONED, job.reason)):
        places = [number for number, entry in enumerate(job.history) if entry.type in types]
        found.update(dict.fromkeys(places[-1:], why))
    return found


def history_table(job: Job) -> str:
    """Return a job's changes as a table; times are since its submission."""
    start_ms = job.submitted_at_ms
    why = _reasons(job)
    rows = [
        (format_duration(entry.at_ms - start_ms), entry.type, entry.attempt, entry.worker, why.get(number))
        for number, entry in enumerate(job.history)
    ]
    return table(("after", "event", "attempts", "worker", "why"), rows)


def usage_text(job: Job) -> str | None:
    """Return a job's usage of models in a line; None without any."""
    usage = job.usage
    if not usage.calls:
        return None
    tokens = f"{usage.input_tokens:,} input tokens, {usage.output_tokens:,} output tokens"
    return f"{format_count(usage.calls, 'call')}, {tokens}, cost {usage.cost:g}"


def steps_table(job: Job) -> str:
    """Return a job's durable steps as a table; starts are since its submission."""
    rows = [
        (
            step.name,
            step.outcome,
            step.attempt,
            format_duration(step.started_at_ms - job.submitted_at_ms),
            format_duration(step.duration_ms),
        )
        for step in job.steps
    ]
    return table(("step", "outcome", "attempt", "after", "duration"), rows)
