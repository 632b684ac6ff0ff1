"""`agentpool schedules`: jobs at due times. List, create, delete, pause, resume."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.durations import duration
from agentpool_core.cli.groups import Group
from agentpool_core.cli.output import EXIT_CODES, Format, output_option, say, values
from agentpool_core.cli.payloads import payload_of
from agentpool_core.cli.rows import SCHEDULE_HEADERS, schedule_row
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.cli.watching import show_rows
from agentpool_core.jobs import Priority
from agentpool_core.queue.schedule import Missed, Overlap, Schedule

if TYPE_CHECKING:
    from agentpool_core.queue.schedules import Schedules

Answer = TypeVar("Answer")
EPILOG = (
    """\b
Examples:
  agentpool schedules list --pool research/analysts
  agentpool schedules create report summarize '{"of": "yesterday"}' --cron '30 6 * * 1-5' --time-zone Europe/Berlin
  agentpool schedules create probe check --every 30s --overlap Skip
  agentpool schedules pause report

Schedules in spec.schedules of the AgentPool are listed too, and can be paused; change and delete them there."""
    + EXIT_CODES
)


@click.group(cls=Group, epilog=EPILOG)
def schedules() -> None:
    """Submit jobs at due times: exactly one job for each due time."""


@schedules.command("list")
@pool_options
@output_option
def list_(*, target: Target, output: Format) -> None:
    """List schedules with their next and last runs."""
    states = run(_ask(target, lambda schedules: schedules.list()))
    rows = [schedule_row(state, target.pool, with_pool=False) for state in states]
    show_rows(SCHEDULE_HEADERS, rows, output, empty=f"no schedules in pool {target.pool}")


@schedules.command()
@click.argument("name")
@click.argument("kind")
@click.argument("payload", required=False)
@pool_options
@click.option("--cron", help="Five fields: minute hour day month weekday.")
@click.option("--every", "every_ms", type=duration, help="An interval instead, such as 30s.")
@click.option("--time-zone", default="UTC", show_default=True, help="IANA name, for --cron.")
@click.option("--priority", type=click.Choice(values(Priority)), default=Priority.TASK.value, show_default=True)
@click.option("--missed", type=click.Choice(values(Missed)), default=Missed.ONCE.value, show_default=True,
              help="Jobs for due times that passed without a worker.")  # fmt: skip
@click.option("--max-catch-up", type=click.IntRange(min=1), default=10, show_default=True, help="With --missed All.")
@click.option("--overlap", type=click.Choice(values(Overlap)), default=Overlap.ALLOW.value, show_default=True,
              help="A due time while the earlier job has not ended.")  # fmt: skip
def create(
    *,
    target: Target,
    name: str,
    payload: str | None,
    priority: str,
    missed: str,
    overlap: str,
    **fields: str | int | None,
) -> None:
    """Create or replace a schedule NAME for jobs of KIND. PAYLOAD is JSON, `@FILE`, or `-` for standard input."""
    schedule = Schedule(
        name=name,
        payload=payload_of(payload),
        priority=Priority(priority),
        missed=Missed(missed),
        overlap=Overlap(overlap),
        **fields,  # type: ignore[arg-type]  # click has checked them
    )
    run(_ask(target, lambda schedules: schedules.put(schedule)))
    say(f"schedule {name} stored")


@schedules.command()
@click.argument("name")
@pool_options
def delete(*, name: str, target: Target) -> None:
    """Delete a schedule; its jobs stay."""
    run(_ask(target, lambda schedules: schedules.delete(name)))
    say(f"schedule {name} deleted")


@schedules.command()
@click.argument("name")
@pool_options
def pause(*, name: str, target: Target) -> None:
    """Pause a schedule; due times meanwhile are skipped."""
    run(_ask(target, lambda schedules: schedules.pause(name, paused=True)))
    say(f"schedule {name} paused")


@schedules.command()
@click.argument("name")
@pool_options
def resume(*, name: str, target: Target) -> None:
    """Resume a paused schedule."""
    run(_ask(target, lambda schedules: schedules.pause(name, paused=False)))
    say(f"schedule {name} resumed")


async def _ask(target: Target, call: Callable[[Schedules], Awaitable[Answer]]) -> Answer:
    from agentpool_core.queue.schedules import Schedules

    async with open_redis(target) as redis:
        return await call(Schedules(redis, target.pool))
