"""Limits of single keys and tenants that differ from the number in the spec, set at run time.

The AgentPool has the number for every key (`spec.queue.limits`); a customer with a larger plan gets an override. The
override lasts until a reset, also when the AgentPool changes. `scripts/lib/limits.lua` applies the override from the
next start on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.errors import SettingError, UnknownLimitError
from agentpool_core.jobs import SUBJECT_FORM
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.codec.requests import is_subject
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.limits import Budget, Rate, RateUnit, bound_text
from agentpool_core.queue.usage import BILLION

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient

LARGEST_BOUND = 2**31 - 1
LARGEST_BUDGET = 1_000_000
_NUMBERS = re.compile(
    r"(budget |tokens )?([1-9]\d{0,15})(?: ([1-9]\d{0,14}) ([1-9]\d{0,14}))?\n(.*)", re.ASCII | re.DOTALL
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """The number that applies to a single key or tenant."""

    limit: str  # name
    subject: str  # the key or tenant
    bound: int | Rate | Budget  # jobs at once, starts in a period, or money in a window, which is the limit's own

    @property
    def text(self) -> str:
        """Return the bound in words."""
        return f"a budget of {self.bound.amount}" if isinstance(self.bound, Budget) else bound_text(self.bound)

    @property
    def burst(self) -> int | None:
        """Return the starts or tokens at once after a pause; None: no rate."""
        return self.bound.burst if isinstance(self.bound, Rate) else None


async def override(
    redis: RedisClient, pool: PoolRef, limit: str, subject: str, bound: int | Rate | Budget | None
) -> bool:
    """Set the bound of a limit for one key or tenant; None resets it. Return whether there was anything to reset.

    Raises SettingError for a key or tenant that no job can have, or a bound that is none; UnknownLimitError unless the
    pool has such a limit by key or tenant, with the same measure; a different QueueError if Redis refuses.
    """
    if not is_subject(subject):
        remedy = f"use {SUBJECT_FORM}"
        raise SettingError(field="key or tenant", value=subject, problem="no job can have it", remedy=remedy)
    if bound is not None:
        _check_bound(bound)
    measure, numbers = "", ""
    if isinstance(bound, Rate):
        measure, numbers = "rate", f"{bound.count} {bound.period_ms} {bound.burst}"
        if bound.unit is RateUnit.TOKENS:
            measure, numbers = "tokens", f"tokens {numbers}"
    elif isinstance(bound, Budget):
        measure, numbers = "budget", f"budget {bound.amount * BILLION}"
    elif bound is not None:
        measure, numbers = "max_running", str(bound)
    reply = await scripts.OVERRIDE.run(redis, Keys(pool).conf, (limit, subject, measure, numbers))
    with Reading("override"):
        if reply[0] == "ok":
            return bool(reply[1])
        raise UnknownLimitError(pool=str(pool), limit=limit, known=[str(each) for each in reply[1:]])


async def overrides(redis: RedisClient, pool: PoolRef) -> list[Override]:
    """Return the overrides, by limit and subject."""
    found = await ask(redis, "HGETALL", Keys(pool).limit_overrides)
    with Reading("hgetall"):
        read = [_override_of(bucket, text) for bucket, text in fields_of(found).items()]
    return sorted(filter(None, read), key=lambda each: (each.limit, each.subject))


def _override_of(bucket: str, text: str) -> Override | None:
    """Return the override; None for a text that `override` does not write, which scripts ignore, too."""
    found = _NUMBERS.fullmatch(text)
    if found is None:
        return None
    word, count, period, burst, subject = found.groups()
    bound: int | Rate | Budget = int(count)
    if word == "budget ":
        bound = Budget(amount=int(count) // BILLION)
    elif period:
        unit = RateUnit.TOKENS if word else RateUnit.STARTS
        bound = Rate(count=int(count), period_ms=int(period), burst=int(burst), unit=unit)
    elif word:
        return None
    return Override(limit=bucket.partition(":")[0], subject=subject, bound=bound)


def budget_in(text: str) -> int | None:
    """Return the amount in the text of an override; None: it is no budget."""
    found = _NUMBERS.fullmatch(text)
    return int(found[2]) // BILLION if found is not None and found[1] == "budget " else None


def _check_bound(bound: int | Rate | Budget) -> None:
    numbers: tuple[object, ...] = (bound,)
    if isinstance(bound, Rate):
        numbers = (bound.count, bound.period_ms, bound.burst)
    most = LARGEST_BOUND
    if isinstance(bound, Budget):
        numbers, most = (bound.amount,), LARGEST_BUDGET
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
            raise SettingError(
                field="bound",
                value=number,
                problem=f"not a whole number from 1 to {most}",
                remedy="correct it, or reset the bound of the key or tenant",
            )
