"""`agentpool get`: jobs in the manner of `kubectl get`; with an id, a single job, with the history on request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, Format, emit, first_line, output_option, table
from agentpool_core.cli.pending_reason import pending_reason
from agentpool_core.cli.selecting import note_cut, selector_options
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.documents import history_document, job_document
from agentpool_core.durations import format_duration
from agentpool_core.jobs import FAILURES, REASONED, Job, JobId, JobState
from agentpool_core.text import render_value

if TYPE_CHECKING:
    from agentpool_core.queue.selector import JobSelector
    from agentpool_core.queue.snapshots import QueueSnapshot

ENDED_WITHOUT_RESULT = frozenset({JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
MEANING = {  # of changes without a stored reason
    "recovered": "its worker was lost",
    "quarantined": "its worker was lost again: it runs alone from now on",
}
LISTED = (
    JobState.RUNNING, JobState.QUEUED, JobState.SCHEDULED, JobState.BLOCKED, JobState.WAITING, JobState.FAILED,
)  # fmt: skip
ENDED = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.EXPIRED)
SHOWN = 100  # jobs of each state, except for names
EPILOG = (
    """\b
Examples:
  agentpool get --pool research/analysts
  agentpool get --state running -o name
  agentpool get --state succeeded --tag nightly --submitted-after 2h
  agentpool get --state all --kind summarize --count
  agentpool get 0193f6c2a1b-9f86d081 -o json
  agentpool get 0193f6c2a1b-9f86d081 --history

A single job is shown with its durable steps. Ended jobs are kept until their retention ends: dead letters come oldest
first, other ended jobs newest first."""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@pool_options
@selector_options(*LISTED, *ENDED)
@click.option(
    "--limit", type=click.IntRange(min=0), help=f"Of each state; 0: all. Default: {SHOWN}, and all with -o name."
)
@click.option("--count", is_flag=True, help="Only the number of jobs.")
@click.option("--history", is_flag=True, help="What happened to the job, oldest first.")
@output_option
def get(
    *,
    jobs: tuple[str, ...],
    target: Target,
    selector: JobSelector,
    limit: int | None,
    count: bool,
    history: bool,
    output: Format,
) -> None:
    """Show jobs: those named, else the selected ones. Without --state: those that wait, run or are dead."""
    if history and len(jobs) != 1:
        raise click.UsageError("--history needs exactly one JOB")
    if jobs and (count or not selector.is_empty):
        raise click.UsageError("name JOBs, or select them, not both")
    chosen = replace(selector, states=selector.states or LISTED)
    if count:
        number = run(_count(target, chosen))
        emit(output, {"count": number}, names=[str(number)], text=str(number))
        return
    most = (SHOWN if output is not Format.NAME else 0) if limit is None else limit
    found, queue = run(_read(target, [JobId(job) for job in jobs], chosen, most, bodies=output.shows_documents))
    if history:
        _show_history(found[0], output)
    else:
        _show(found, target, queue, output, one=len(jobs) == 1)


async def _count(target: Target, selector: JobSelector) -> int:
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        return await Inspector(redis).select(target.pool, selector).count()


async def _read(
    target: Target, ids: list[JobId], selector: JobSelector, limit: int, *, bodies: bool
) -> tuple[list[Job], QueueSnapshot]:
    """Return the jobs, and their queue. `limit` 0: all jobs."""
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        queue = await inspector.snapshot(target.pool)
        if ids:
            return [await inspector.job(target.pool, job_id) for job_id in ids], queue
        found: list[Job] = []
        for state in selector.states:
            one = replace(selector, states=(state,))
            page = await inspector.find(target.pool, one, limit=limit or sys.maxsize, bodies=bodies)
            found += page.jobs
            if page.cursor is not None:
                note_cut(len(page.jobs), f"state {state}")
        return found, queue


def _show(jobs: Sequence[Job], target: Target, queue: QueueSnapshot, output: Format, *, one: bool) -> None:
    documents = [job_document(job, target.pool) for job in jobs]
    text = jobs_table(jobs, queue.taken_at_ms) if jobs else f"no such jobs in pool {target.pool}"
    if one:
        documents[0]["history"] = history_document(jobs[0])
        why = pending_reason(jobs[0], queue)
        text += f"\n\n{'waiting' if jobs[0].state is JobState.WAITING else 'not started'}: {why}" if why else ""
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
