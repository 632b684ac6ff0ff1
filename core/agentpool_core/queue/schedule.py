"""A schedule: a job at each due time, by a cron expression in a time zone or by an interval. Pure.

Due times of an interval are multiples of it since 1970, so they depend on neither start nor restart. A cron expression
follows the local clock by the rules of Debian's cron, which `cronsim` implements: a fixed time that a change of the
clock skips is due right after the change, a fixed time that occurs twice is due once, at the first occurrence; an
expression whose minute or hour begins with `*` follows real time. `agentpool_core.queue.schedules` takes over next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import KIND_FORM, KIND_PATTERN, Json, Priority

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_CATCH_UP = 100  # jobs submitted for missed due times
LONGEST_INTERVAL_MS = 366 * 86_400_000
GRACE_MS = 60_000  # a due time is missed when it has passed for longer
NAME_PATTERN = r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?"
_NAME = re.compile(NAME_PATTERN)
_KIND = re.compile(KIND_PATTERN)
_STEP_MS = 1_000


class Missed(StrEnum):
    """Treatment of due times that passed while no worker could submit."""

    SKIP = "Skip"  # no job for a due time that passed more than a minute ago
    ONCE = "Once"  # one job, for the latest due time
    ALL = "All"  # a job for each of the latest `max_catch_up` due times


class Overlap(StrEnum):
    """Treatment of a due time while the job of an earlier due time has not ended."""

    ALLOW = "Allow"  # both run
    SKIP = "Skip"  # no new job
    CANCEL = "Cancel"  # the earlier job is cancelled


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A schedule: exactly one of `cron` and `every_ms`."""

    name: str
    kind: str  # of the jobs; selects the route
    cron: str | None = None  # minute hour day-of-month month day-of-week
    every_ms: int | None = None  # whole seconds
    time_zone: str = "UTC"  # IANA name; for cron
    payload: Json = None
    priority: Priority = Priority.TASK
    missed: Missed = Missed.ONCE
    max_catch_up: int = 10
    overlap: Overlap = Overlap.ALLOW
    suspended: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidJobError naming the unusable field."""
        _require(_NAME.fullmatch(self.name) is not None, "name", self.name, f"use the form {NAME_PATTERN}")
        _require(_KIND.fullmatch(self.kind) is not None, "kind", self.kind, f"use {KIND_FORM}")
        _require((self.cron is None) != (self.every_ms is None), "cron", self.cron, "give either cron or every")
        catches_up = 1 <= self.max_catch_up <= MOST_CATCH_UP
        _require(catches_up, "max_catch_up", self.max_catch_up, f"use 1 to {MOST_CATCH_UP}")
        zone = zone_of(self.time_zone)
        if self.cron is not None:
            check_cron(self.cron, zone)
        elif self.every_ms is not None:
            whole = self.every_ms % _STEP_MS == 0 and _STEP_MS <= self.every_ms <= LONGEST_INTERVAL_MS
            _require(whole, "every_ms", self.every_ms, "use whole seconds, at most 366 days")

    def next_after(self, at_ms: int) -> int | None:
        """Return the first due time after this time; None if no due time follows."""
        return next(self._due_times(at_ms), None)

    def latest_due(self, first_ms: int, until_ms: int, *, most: int) -> list[int]:
        """Return the latest `most` due times from `first_ms` to `until_ms`, oldest first."""
        found = []
        for due_ms in islice(self._due_times(until_ms + 1, reverse=True), most):
            if due_ms < first_ms:
                break
            found.append(due_ms)
        return found[::-1]

    def to_submit(self, first_ms: int, now_ms: int) -> list[int]:
        """Return the due times from `first_ms` to now for which a job is submitted, by the policy for missed ones."""
        most = self.max_catch_up if self.missed is Missed.ALL else 1
        due = self.latest_due(first_ms, now_ms, most=most)
        if self.missed is Missed.SKIP:
            return [due_ms for due_ms in due if now_ms - due_ms <= GRACE_MS]
        return due

    def _due_times(self, at_ms: int, *, reverse: bool = False) -> Iterator[int]:
        """Yield the due times after this time; before this time, latest first, if `reverse`."""
        if self.every_ms is not None:
            step = -self.every_ms if reverse else self.every_ms
            due_ms = (at_ms - reverse) // self.every_ms * self.every_ms
            due_ms += 0 if reverse else self.every_ms
            while due_ms >= 0:
                yield due_ms
                due_ms += step
            return
        start = datetime.fromtimestamp(-(-at_ms // 1000) if reverse else at_ms // 1000, tz=UTC)
        for due in CronSim(str(self.cron), start.astimezone(zone_of(self.time_zone)), reverse=reverse):
            yield round(due.timestamp() * 1000)

    def to_json(self) -> str:
        """Return the form that is stored."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({name: value for name, value in plain.items() if value is not None}, sort_keys=True)

    @classmethod
    def from_mapping(cls, plain: Mapping[str, Any]) -> Schedule:
        """Return the schedule of a stored form.

        Raises InvalidJobError for an unusable field, KeyError, TypeError or ValueError for a different form.
        """
        values = dict(plain)
        if isinstance(values.get("every_ms"), float):
            raise TypeError("every_ms is no whole number")
        for field, choices in (("priority", Priority), ("missed", Missed), ("overlap", Overlap)):
            if field in values:
                values[field] = choices(values[field])
        return cls(**values)


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone. Raises InvalidJobError for an unknown name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidJobError(
            field="time_zone", value=name, problem="no such time zone", remedy="use a name such as Europe/Berlin or UTC"
        ) from error


def check_cron(text: str, zone: ZoneInfo, *, field: str = "cron") -> None:
    """Raise InvalidJobError for an expression that cron does not accept, or that is never due."""
    try:
        usable = len(text.split()) == 5 and next(CronSim(text, datetime.now(zone)), None) is not None  # noqa: PLR2004
    except CronSimError as error:
        raise _bad_cron(field, text, str(error).lower()) from error
    if not usable:
        raise _bad_cron(field, text, "not five fields, or never due")


def _bad_cron(field: str, text: str, problem: str) -> InvalidJobError:
    return InvalidJobError(
        field=field,
        value=text,
        problem=problem,
        remedy="use five fields, minute hour day month weekday, as in '30 6 * * 1-5'",
    )


def _require(holds: bool, field: str, value: object, remedy: str) -> None:  # noqa: FBT001  # a condition
    if not holds:
        raise InvalidJobError(field=field, value=value, problem="not usable", remedy=remedy)
