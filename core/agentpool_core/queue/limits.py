"""Limits of a pool: how many jobs run at once, start or use tokens in a period, or spend money in a window.

`agentpool_core.queue.settings` contains a pool's limits, and lib/limits.lua applies them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DAY_MS = 86_400_000


class LimitBy(StrEnum):
    """Attribute of a job that divides a limit: each value has a limit of its own."""

    KEY = "key"  # the job's limit key
    TENANT = "tenant"  # the job's tenant


class RateUnit(StrEnum):
    """Unit that a rate counts."""

    STARTS = "starts"
    TOKENS = "tokens"  # of models: an estimate at the start, corrected by the usage that the handler reports


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So many starts or tokens in a period. Any period sees at most `count + burst - 1` starts."""

    count: int  # in a period
    period_ms: int
    burst: int = 1  # starts or tokens at once after a pause
    unit: RateUnit = RateUnit.STARTS

    @property
    def interval_ms(self) -> float:
        """The time between two starts or tokens."""
        return self.period_ms / self.count


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Money that jobs may spend in a window. Windows follow each other since 1970: those of a day begin at 0:00 UTC."""

    amount: int  # in the unit that the handlers report
    window_ms: int = DAY_MS


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """A bound for jobs of some kinds and routes, over all workers: one of `max_running`, `rate` and `budget`."""

    name: str
    by: LimitBy | None = None  # a limit for each key or tenant; jobs without one are not limited
    kinds: tuple[str, ...] = ()  # () = all kinds
    routes: tuple[str, ...] = ()  # () = all routes
    max_running: int | None = None  # jobs at once
    rate: Rate | None = None  # starts or tokens in a period
    budget: Budget | None = None  # money in a window: no job starts once it is spent

    @property
    def is_gate(self) -> bool:
        """Whether the limit covers whole routes, so that its jobs wait in their streams."""
        return self.by is None and not self.kinds and not (self.rate and self.rate.unit is RateUnit.TOKENS)

    def covers_route(self, route: str) -> bool:
        """Whether jobs of this route are limited."""
        return not self.routes or route in self.routes

    @property
    def text(self) -> str:
        """The bound in words."""
        return bound_text(self.rate or self.budget or self.max_running or 0)


def bound_text(bound: int | Rate | Budget) -> str:
    """Return the bound in words: `2 at once`, `500 in 60 s`, `90000 tokens in 60 s`, `a budget of 100 in 86400 s`."""
    if isinstance(bound, Budget):
        return f"a budget of {bound.amount} in {bound.window_ms / 1000:g} s"
    if isinstance(bound, Rate):
        tokens = " tokens" if bound.unit is RateUnit.TOKENS else ""
        return f"{bound.count}{tokens} in {bound.period_ms / 1000:g} s"
    return f"{bound} at once"
