"""`agentpool purge`: delete ended jobs before their retention ends: dead letters by id, or any by conditions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.changing import change_selected
from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.selecting import selector_options
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.jobs import JobId
from agentpool_core.queue.selector import ENDED
from agentpool_core.text import format_count

if TYPE_CHECKING:
    from agentpool_core.queue.selector import JobSelector

EPILOG = (
    """\b
Examples:
  agentpool purge --state succeeded --kind summarize --pool research/analysts
  agentpool purge --state cancelled --state expired --yes
  agentpool purge --state all --tag customer=acme
  agentpool purge --state failed --yes
  agentpool purge 0193f6c2a1b-9f86d081               a dead letter"""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@pool_options
@selector_options(*ENDED)
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(*, jobs: tuple[str, ...], target: Target, selector: JobSelector, yes: bool) -> None:
    """Delete ended jobs: dead letters by id, or the selected.

    Their results go with them, and cannot be brought back.
    """
    if jobs and not selector.is_empty:
        raise click.UsageError("name JOBs, or select them, not both")
    if not jobs and not selector.states:
        raise click.UsageError("name the state of the ended jobs: --state succeeded, or --state all")
    if not yes:
        confirm_deletion(format_count(len(jobs), "dead letter") if jobs else "the selected ended jobs", target)
    work = discard(target, [JobId(job) for job in jobs]) if jobs else change_selected(target, selector, "purge")
    say(f"{format_count(run(work), 'job')} deleted")


def confirm_deletion(which: str, target: Target) -> None:
    """Ask whether to delete; anything but yes ends the command, and so does a missing terminal."""
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at; pass --yes to delete without being asked")
    click.confirm(f"delete {which} of pool {target.pool}?", abort=True, err=True)


async def discard(target: Target, ids: list[JobId]) -> int:
    """Delete these dead letters; return their number."""
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        return await Inspector(redis).discard(target.pool, ids)
