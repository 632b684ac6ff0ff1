"""`agentpool cancel`: end waiting jobs, and ask the workers of running jobs to stop them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentpool_core.cli.changing import change_selected
from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.selecting import check_choice, selector_options
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.jobs import JobId
from agentpool_core.queue.selector import UNENDED
from agentpool_core.text import format_count

if TYPE_CHECKING:
    from agentpool_core.queue.selector import JobSelector

EPILOG = (
    """\b
Examples:
  agentpool cancel 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool get --state queued -o name | xargs agentpool cancel --reason superseded
  agentpool cancel 0193f6c2a1b-9f86d081 --tree
  agentpool cancel --state queued --kind summarize
  agentpool cancel --tag nightly --submitted-before 2h

Selected jobs are cancelled in steps, a hundred at a time; jobs submitted after the command began are not cancelled.
Jobs that wait for a cancelled job are cancelled with it, unless they asked to run anyway, and so are the children that
a cancelled job waits for. --tree cancels all jobs that a job's handler has started."""
    + EXIT_CODES
)
_MESSAGES = {
    "cancelled": "cancelled",
    "requested": "still runs; its worker was asked to stop it",
    "finished": "had ended before",
}


@click.command(epilog=EPILOG)
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@pool_options
@selector_options(*UNENDED)
@click.option("--all", "everything", is_flag=True, help="All jobs of the pool that wait or run.")
@click.option("--tree", is_flag=True, help="Also all jobs that the named jobs have started, with all that these have.")
@click.option("--reason", default="requested", show_default=True, help="Kept with the job.")
def cancel(
    *, jobs: tuple[str, ...], target: Target, selector: JobSelector, everything: bool, tree: bool, reason: str
) -> None:
    """Cancel jobs: those named, or the selected ones."""
    check_choice(jobs, selector, everything=everything)
    if tree and not jobs:
        raise click.UsageError("--tree needs the ids of jobs")
    if jobs:
        run(_cancel(target, [JobId(job) for job in jobs], reason, tree=tree))
        return
    number = run(change_selected(target, selector, "cancel", reason=reason))
    say(f"{format_count(number, 'job')} cancelled, or asked to stop")


async def _cancel(target: Target, ids: list[JobId], reason: str, *, tree: bool) -> None:
    from agentpool_core.queue.producer import Producer

    async with open_redis(target) as redis:
        producer = Producer(redis, target.pool)
        for job_id in ids:
            outcome = await producer.cancel(job_id, reason=reason, tree=tree)
            say(f"job {job_id} {_MESSAGES[outcome.value]}")
