"""`agentpool purge`: delete ended jobs before their retention ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.changing import change_selected
from agentpool_core.cli.connection import run
from agentpool_core.cli.output import EXIT_CODES, format_count, say
from agentpool_core.cli.selecting import selector_options
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.queue.selector import ENDED

if TYPE_CHECKING:
    from agentpool_core.queue.selector import JobSelector

EPILOG = (
    """\b
Examples:
  agentpool purge --state succeeded --kind summarize --pool research/analysts
  agentpool purge --state cancelled --state expired --yes
  agentpool purge --state all --tag customer=acme"""
    + EXIT_CODES
)


@click.command(epilog=EPILOG)
@pool_options
@selector_options(*ENDED)
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(*, target: Target, selector: JobSelector, yes: bool) -> None:
    """Delete the selected ended jobs, with their results. They cannot be brought back."""
    if not selector.states:
        raise click.UsageError("name the state of the ended jobs: --state succeeded, or --state all")
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask at; pass --yes to delete without being asked")
        click.confirm(f"delete the selected ended jobs of pool {target.pool}?", abort=True, err=True)
    say(f"{format_count(run(change_selected(target, selector, 'purge')), 'job')} deleted")
