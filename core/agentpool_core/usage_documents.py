"""Usage of models as JSON documents, for the command line's `-o json` and the HTTP API. Part of `documents`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from agentpool_core.jobs import PoolRef, Usage
from agentpool_core.queue.usage_totals import UsageTotals

Document = dict[str, Any]


def usage_document(usage: Usage) -> Document:
    """Return usage of models, in total; the cost is in the unit of money that handlers report."""
    return {
        "calls": usage.calls,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost": usage.cost,
    }


def totals_document(totals: UsageTotals, by: Sequence[str], pool: PoolRef) -> Document:
    """Return the usage of a pool in a range of days, with the columns `by` in each row."""
    return {
        "pool": str(pool),
        "first_day": totals.first_day.isoformat(),
        "last_day": totals.last_day.isoformat(),
        "rows": [
            {**{name: _column(getattr(row, name)) for name in by}, **usage_document(row.usage)} for row in totals.rows
        ],
        "total": usage_document(totals.total),
    }


def _column(value: str | date) -> str:
    return value.isoformat() if isinstance(value, date) else value
