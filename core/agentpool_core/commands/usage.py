"""`agentpool usage`: tokens and money that the jobs of a pool have used."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import EXIT_CODES, Output, emit, output_option, table
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.queue.usage_totals import COLUMNS, DEFAULT_COLUMNS, DEFAULT_DAYS, MOST_DAYS, UsageQuery
from agentpool_core.usage_documents import totals_document

if TYPE_CHECKING:
    from agentpool_core.jobs import Usage
    from agentpool_core.queue.usage_totals import UsageTotals

EPILOG = (
    """\b
Examples:
  agentpool usage --pool research/analysts
  agentpool usage --tenant acme --days 30 --by day --by model
  agentpool usage --day 2026-11-28 --by tenant -o json"""
    + EXIT_CODES
)
_NUMBERS = ("calls", "input tokens", "output tokens", "cost")


@click.command(epilog=EPILOG)
@pool_options
@click.option("--days", type=click.IntRange(1, MOST_DAYS), default=DEFAULT_DAYS, show_default=True,
              help="Today and the days before it, in UTC.")  # fmt: skip
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only this day, in UTC.")
@click.option("--tenant", help="Only jobs of this tenant; '' for jobs without a tenant.")
@click.option("--kind", help="Only jobs of this kind.")
@click.option("--model", help="Only calls of this model.")
@click.option("--by", type=click.Choice(COLUMNS), multiple=True, default=DEFAULT_COLUMNS, show_default=True,
              help="Columns that divide the rows; repeatable.")  # fmt: skip
@output_option
def usage(*, target: Target, output: Output, day: datetime | None, by: tuple[str, ...], **choice: str | int) -> None:
    """Show the tokens and the cost of a pool's jobs.

    Handlers report usage with ctx.usage; the cost is in their unit of money.
    """
    query = UsageQuery(day=None if day is None else day.date(), by=tuple(dict.fromkeys(by)), **choice)  # type: ignore[arg-type]
    totals = run(_read(target, query))
    emit(
        output,
        totals_document(totals, query.by, target.pool),
        names=[" ".join(map(_cell, (getattr(row, name) for name in query.by))) for row in totals.rows],
        text=_table(totals, query),
    )


def _table(totals: UsageTotals, query: UsageQuery) -> str:
    days = f"from {totals.first_day} to {totals.last_day} (UTC)"
    if not totals.rows:
        return f"no usage {days}; handlers report usage with ctx.usage"
    rows = [(*(_cell(getattr(row, name)) for name in query.by), *_numbers(row.usage)) for row in totals.rows]
    total = ("total", *[""] * (len(query.by) - 1), *_numbers(totals.total))
    return f"{table((*query.by, *_NUMBERS), [*rows, total])}\n\n{days}"


def _cell(value: str | date) -> str:
    return str(value) or "-"


def _numbers(usage: Usage) -> tuple[str, ...]:
    return (f"{usage.calls:,}", f"{usage.input_tokens:,}", f"{usage.output_tokens:,}", f"{usage.cost:g}")


async def _read(target: Target, query: UsageQuery) -> UsageTotals:
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        return await Inspector(redis).usage(target.pool, query)
