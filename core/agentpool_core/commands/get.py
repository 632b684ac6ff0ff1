"""`agentpool get`: jobs in the manner of `kubectl get`; with an id, a single job, with the history on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, Format, emit, first_line, output_option, table
from agentpool_core.cli.pending_reason import pending_reason
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.documents import history_document, job_document
from agentpool_core.durations import format_duration
from agentpool_core.jobs import FAILURES, REASONED, Job, JobId, JobState
from agentpool_core.text import render_value

if TYPE_CHECKING:
    from agentpool_core.queue.snapshots import QueueSnapshot

ENDED_WITHOUT_RESULT = frozenset({JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
MEANING = {  # of changes without a stored reason
    "recovered": "its worker was lost",
    "quarantined": "its worker was lost again: it runs alone from now on",
}
LISTED = ("running", "queued", "scheduled", "blocked", "failed")
EPILOG = (
    """\b
Examples:
  agentpool get --pool research/analysts
  agentpool get --state running -o name
  agentpool get 0193f6c2a1b-9f86d081 -o json
  agentpool get 0193f6c2a1b-9f86d081 --history

A single job is shown with its durable steps.
Jobs that ended well are shown by their id only, until their retention ends."""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@pool_options
@click.option("--state", "states", multiple=True, type=click.Choice(LISTED), help="Only these. May be repeated.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Of each state.")
@click.option("--history", is_flag=True, help="What happened to the job, oldest first.")
@output_option
def get(
    *, jobs: tuple[str, ...], target: Target, states: tuple[str, ...], limit: int, history: bool, output: Format
) -> None:
    """Show jobs: those named, else those that wait, run or are dead."""
    if history and len(jobs) != 1:
        raise click.UsageError("--history needs exactly one JOB")
    wanted = [JobState(state) for state in states or LISTED]
    found, queue = run(_read(target, [JobId(job) for job in jobs], wanted, limit, bodies=output.shows_documents))
    if history:
        _show_history(found[0], output)
    else:
        _show(found, target, queue, output, one=len(jobs) == 1)


async def _read(
    target: Target, ids: list[JobId], states: list[JobState], limit: int, *, bodies: bool
) -> tuple[list[Job], QueueSnapshot]:
    """Return the jobs, and their queue."""
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        queue = await inspector.snapshot(target.pool)
        if ids:
            return [await inspector.job(target.pool, job_id) for job_id in ids], queue
        lists = [await inspector.jobs(target.pool, state, limit=limit, bodies=bodies) for state in states]
        return [job for jobs in lists for job in jobs], queue


def _show(jobs: Sequence[Job], target: Target, queue: QueueSnapshot, output: Format, *, one: bool) -> None:
    documents = [job_document(job, target.pool) for job in jobs]
    text = jobs_table(jobs, queue.taken_at_ms) if jobs else f"no jobs wait, run or are dead in pool {target.pool}"
    if one:
        documents[0]["history"] = history_document(jobs[0])
        why = pending_reason(jobs[0], queue)
        text += f"\n\nnot started: {why}" if why else ""
        text += _end(jobs[0])
        text += f"\n\n{steps_table(jobs[0])}" if jobs[0].steps else ""
        text += "".join(f"\n\n{name} cannot be read: {render_value(raw)}" for name, raw in jobs[0].undecodable.items())
    emit(output, documents[0] if one else documents, names=[job.job_id for job in jobs], text=text)


def _end(job: Job) -> str:
    """Return the reason of an end without a result, for the text below the table."""
    reason = first_line(job.error) if job.state is JobState.FAILED else job.reason
    return f"\n\n{job.state}: {reason}" if reason and job.state in ENDED_WITHOUT_RESULT else ""


def jobs_table(jobs: Sequence[Job], now_ms: int) -> str:
    """Return jobs as a table; ages are of the Redis clock."""
    rows = [
        (
            job.job_id,
            job.kind,
            job.priority,
            job.state,
            f"{job.attempt}/{job.max_attempts}",
            job.worker if job.state is JobState.RUNNING else None,
            format_duration(now_ms - job.submitted_at_ms),
        )
        for job in jobs
    ]
    return table(("job", "kind", "priority", "state", "attempts", "worker", "age"), rows)


def _reasons(job: Job) -> dict[int, str | None]:
    """Return reasons by place in the history: a record keeps only the latest error and the latest reason."""
    found: dict[int, str | None] = {number: MEANING.get(entry.type) for number, entry in enumerate(job.history)}
    for types, why in ((FAILURES, first_line(job.error)), (REASONED, job.reason)):
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


def _show_history(job: Job, output: Format) -> None:
    entries = history_document(job)
    emit(output, entries, names=[entry["type"] for entry in entries], text=history_table(job))
