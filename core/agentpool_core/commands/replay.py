"""`agentpool replay`: put dead letters back into the queue. `agentpool trace` replays recorded arrivals."""

from __future__ import annotations

from dataclasses import replace as replaced
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.changing import change_selected
from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.selecting import check_choice, selector_options
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.jobs import JobId, JobState
from agentpool_core.text import format_count

if TYPE_CHECKING:
    from agentpool_core.queue.selector import JobSelector

EPILOG = (
    """\b
Examples:
  agentpool replay 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool replay 0193f6c2a1b-9f86d081 --downstream
  agentpool replay --all
  agentpool replay --kind summarize --submitted-after 2h

`agentpool get jobs --state failed -o wide` lists dead letters with their
errors. `agentpool trace` submits the arrivals of a recorded trace."""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@pool_options
@selector_options()
@click.option("--all", "everything", is_flag=True, help="All dead letters of the pool.")
@click.option("--downstream", is_flag=True, help="With all jobs that were cancelled because of JOB.")
def replay(*, jobs: tuple[str, ...], target: Target, selector: JobSelector, everything: bool, downstream: bool) -> None:
    """Put failed jobs back into the queue, with all their attempts."""
    check_choice(jobs, selector, everything=everything)
    if jobs:
        run(_replay(target, [JobId(job) for job in jobs], downstream=downstream))
        return
    if downstream:
        raise click.UsageError("--downstream needs the ids of the failed jobs; selected jobs are replayed alone.")
    chosen = replaced(selector, states=(JobState.FAILED,))
    say(f"{format_count(run(change_selected(target, chosen, 'replay')), 'job')} queued again")


async def _replay(target: Target, ids: list[JobId], *, downstream: bool) -> None:
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        for job_id in ids:
            count = await inspector.replay(target.pool, job_id, downstream=downstream)
            with_others = f", with {format_count(count, 'job')} downstream" if downstream else ""
            say(f"job {job_id} queued again{with_others}")
