"""`agentpool dead`: the older spelling of `get jobs --state failed`, `replay` and `purge`; not in the help any more."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.changing import change_selected
from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.groups import Group
from agentpool_core.cli.output import EXIT_CODES, Output, emit, first_line, output_option, say, table
from agentpool_core.cli.selecting import check_choice, note_cut, selector_options
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.commands.purge import confirm_deletion, discard
from agentpool_core.commands.replay import replay
from agentpool_core.documents import job_document
from agentpool_core.durations import format_duration
from agentpool_core.jobs import Job, JobId, JobState
from agentpool_core.text import format_count

if TYPE_CHECKING:
    from agentpool_core.queue.selector import JobSelector

EPILOG = (
    """\b
Examples:
  agentpool dead list --pool research/analysts
  agentpool dead replay 0193f6c2a1b-9f86d081
  agentpool dead replay --all
  agentpool dead replay --kind summarize --submitted-after 2h
  agentpool dead purge --all --yes"""
    + EXIT_CODES
)


@click.group(cls=Group, epilog=EPILOG, hidden=True)
def dead() -> None:
    """Look at jobs that failed for good, and replay or purge them."""


@dead.command("list")
@pool_options
@selector_options()
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="The oldest so many; 0: all.")
@output_option
def list_(*, target: Target, selector: JobSelector, limit: int, output: Output) -> None:
    """List dead letters, oldest first."""
    jobs, now_ms = run(_read(target, selector, limit, bodies=output.shows_documents))
    rows = [
        (
            j.job_id,
            j.kind,
            j.priority,
            j.attempt,
            format_duration(now_ms - (j.finished_at_ms or now_ms)),
            first_line(j.error),
        )
        for j in jobs
    ]
    text = table(("job", "kind", "priority", "attempts", "died", "error"), rows) if rows else "no dead letters"
    emit(output, [job_document(job, target.pool) for job in jobs], names=[job.job_id for job in jobs], text=text)


dead.add_command(replay)


@dead.command()
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@pool_options
@selector_options()
@click.option("--all", "everything", is_flag=True, help="All dead letters of the pool.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(*, jobs: tuple[str, ...], target: Target, selector: JobSelector, everything: bool, yes: bool) -> None:
    """Delete dead letters. They cannot be brought back."""
    check_choice(jobs, selector, everything=everything)
    if not yes:
        which = format_count(len(jobs), "dead letter") if jobs else "all dead letters"
        confirm_deletion(which if selector.is_empty else "the selected dead letters", target)
    if jobs:
        number = run(discard(target, [JobId(job) for job in jobs]))
    else:
        number = run(change_selected(target, _dead(selector), "purge"))
    say(f"{format_count(number, 'dead letter')} deleted")


def _dead(selector: JobSelector) -> JobSelector:
    return replace(selector, states=(JobState.FAILED,))


async def _read(target: Target, selector: JobSelector, limit: int, *, bodies: bool) -> tuple[list[Job], int]:
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        now_ms = (await inspector.snapshot(target.pool)).taken_at_ms
        page = await inspector.find(target.pool, _dead(selector), limit=limit or sys.maxsize, bodies=bodies)
        if page.cursor is not None:
            note_cut(len(page.jobs), "the dead letters")
        return list(page.jobs), now_ms
