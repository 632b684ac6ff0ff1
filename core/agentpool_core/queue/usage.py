"""Usage of models: reports of handlers, checked, and totals of a job.

A cost is money in the unit that the pool's handlers report. The queue counts whole billionths of the unit, so sums are
exact. `reports` writes reports under a job's lease, `scripts/spend.lua` adds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agentpool_core.errors import InvalidJobError

BILLION = 1_000_000_000  # parts of a unit of money
MOST_TOKENS = 1_000_000_000_000  # of a report
MOST_COST = 1_000_000  # of a report, in units
LONGEST_MODEL = 128  # characters


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageReport:
    """Usage of one call of a model, or of several calls together."""

    model: str = ""  # empty: not named
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0  # money, in the unit of the pool's handlers

    @property
    def cost_billionths(self) -> int:
        """Return the cost as a whole number of billionths."""
        return billionths(self.cost)


def billionths(cost: float) -> int:
    """Return money as a whole number of billionths."""
    return round(Decimal(str(cost)) * BILLION)


def check_usage(*, input_tokens: Any, output_tokens: Any, cost: Any, model: Any) -> UsageReport:
    """Return a report of checked values. Raises InvalidJobError naming the field."""
    named = "" if model is None else model
    if not isinstance(named, str) or len(named) > LONGEST_MODEL or not (named.isprintable() and named.isascii()):
        problem = f"not a name of at most {LONGEST_MODEL} printable ASCII characters"
        raise refused("model", model, problem, "send the name of the model, without its settings")
    return UsageReport(
        model=named,
        input_tokens=_tokens("input_tokens", input_tokens),
        output_tokens=_tokens("output_tokens", output_tokens),
        cost=0.0 if cost is None else check_cost(cost),
    )


def check_cost(value: Any) -> float:
    """Return a cost, in units of money. Raises InvalidJobError."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not _is_within(value):
        raise refused("cost", value, f"not a number of 0 to {MOST_COST}", "send the money that the call has cost")
    return float(value)


def _is_within(value: float | Decimal) -> bool:
    return not (isinstance(value, Decimal) and value.is_nan()) and 0 <= value <= MOST_COST


def _tokens(field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        raise refused(field, value, f"not a whole number of 0 to {MOST_TOKENS}", "send the tokens of the call")
    return value


def refused(field: str, value: object, problem: str, remedy: str) -> InvalidJobError:
    """Return the error for a value of a report or a query."""
    return InvalidJobError(field=field, value=value, problem=problem, remedy=remedy)
