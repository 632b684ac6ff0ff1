"""Totals of usage by day, tenant, kind and model: read from `usage:DAY`, which `scripts/spend.lua` writes.

A day is one of UTC, by the pool's clock. The queue keeps MOST_ROWS rows of a day; further combinations of tenant, kind
and model share a row of the kind OTHERS, so sums stay exact. Days are kept for MOST_DAYS days.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from agentpool_core.jobs import Usage
from agentpool_core.queue.codec.layout import read_usage_row
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.usage import refused

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient

MOST_DAYS = 62  # kept, today included
MOST_ROWS = 10_000  # of a day
OTHERS = "~others"  # kind of the row of all further combinations
COLUMNS = ("day", "tenant", "kind", "model")
DEFAULT_DAYS = 7
DEFAULT_COLUMNS = ("tenant", "kind")


class UsageOptions(TypedDict, total=False):
    """The arguments of a UsageQuery."""

    days: int
    day: date | None
    tenant: str | None
    kind: str | None
    model: str | None
    by: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageQuery:
    """A selection of usage. None: any."""

    days: int = DEFAULT_DAYS  # today and the days before it
    day: date | None = None  # this day only
    tenant: str | None = None
    kind: str | None = None
    model: str | None = None
    by: Sequence[str] = DEFAULT_COLUMNS  # of COLUMNS: rows that differ in no other column are added

    def __post_init__(self) -> None:
        """Refuse a query that no row can answer. Raises InvalidJobError."""
        if not 1 <= self.days <= MOST_DAYS:
            raise refused("days", self.days, f"not 1 to {MOST_DAYS}", "usage is kept for that long; export it daily")
        for column in self.by:
            if column not in COLUMNS:
                raise refused("by", column, "no such column", f"use {', '.join(COLUMNS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageRow:
    """Usage of the jobs that have these values; None: of all values, as the query does not divide by this column."""

    usage: Usage
    day: date | None = None
    tenant: str | None = None  # empty: of jobs without a tenant
    kind: str | None = None  # OTHERS: of combinations beyond the number that is kept of a day
    model: str | None = None  # empty: not named by the handler


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageTotals:
    """Usage of a pool in a range of days."""

    first_day: date
    last_day: date
    rows: tuple[UsageRow, ...]  # the highest cost first, then the most tokens, then by name
    total: Usage


async def usage_totals(redis: RedisClient, pool: PoolRef, query: UsageQuery) -> UsageTotals:
    """Return the usage of a pool. Reads a day at a time."""
    last = query.day or await _today(redis)
    first = query.day or last - timedelta(days=query.days - 1)
    sums: defaultdict[tuple[Any, ...], Usage] = defaultdict(Usage)
    total = Usage()
    for offset in range((last - first).days + 1):
        for row in await _day_rows(redis, pool, first + timedelta(days=offset)):
            if _selects(query, row):
                sums[tuple(getattr(row, column) for column in query.by)] += row.usage
                total += row.usage
    return UsageTotals(first_day=first, last_day=last, rows=_ordered(query.by, sums.items()), total=total)


async def _today(redis: RedisClient) -> date:
    reply = await ask(redis, "TIME")
    with Reading("time"):
        return datetime.fromtimestamp(int(reply[0]), UTC).date()


async def _day_rows(redis: RedisClient, pool: PoolRef, day: date) -> list[UsageRow]:
    reply = await ask(redis, "HGETALL", Keys(pool).usage(day))
    with Reading("hgetall"):
        fields = fields_of(reply)
    rows = []
    for names, numbers in fields.items():
        found = read_usage_row(names, numbers)
        if found is not None:
            tenant, kind, model, usage = found
            rows.append(UsageRow(day=day, tenant=tenant, kind=kind, model=model, usage=usage))
    return rows


def _selects(query: UsageQuery, row: UsageRow) -> bool:
    wanted = ((query.tenant, row.tenant), (query.kind, row.kind), (query.model, row.model))
    return all(value is None or value == found for value, found in wanted)


def _ordered(by: Sequence[str], sums: Iterable[tuple[tuple[Any, ...], Usage]]) -> tuple[UsageRow, ...]:
    ordered = sorted(sums, key=lambda each: (-each[1].cost_billionths, -each[1].tokens, each[0]))
    return tuple(UsageRow(usage=usage, **dict(zip(by, values, strict=True))) for values, usage in ordered)
