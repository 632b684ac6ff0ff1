"""The minimum by timetable: the highest minimum among the schedules that are active at a time. Pure.

A schedule is active from a due time of `start` to the next due time of `end`. Due times follow the local clock by the
rules of `agentpool_core.queue.schedule`. `agentpool_operator.pools.resolve` puts the minimum into the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cronsim import CronSim

from agentpool_operator.scaling.policy import Minimum

if TYPE_CHECKING:
    from collections.abc import Iterable

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """A schedule of the minimum."""

    name: str
    start: str  # cron expression
    end: str  # cron expression
    time_zone: str  # IANA name
    min_replicas: int  # workers


def minimum_at(replicas: int, periods: Iterable[Period], at: float) -> Minimum:
    """Return the highest of `replicas` and the active schedules; `at` is in seconds since 1970."""
    highest = Minimum(replicas=replicas)
    for period in periods:
        if period.min_replicas > highest.replicas and _is_active(period, int(at) // SECONDS_PER_MINUTE):
            highest = Minimum(replicas=period.min_replicas, schedule=period.name)
    return highest


@lru_cache(maxsize=10_000)
def _is_active(period: Period, minute: int) -> bool:
    """Whether the latest start is after the latest end; due times are whole minutes."""
    now = datetime.fromtimestamp(minute * SECONDS_PER_MINUTE + 1, tz=UTC).astimezone(ZoneInfo(period.time_zone))
    started, ended = _latest(period.start, now), _latest(period.end, now)
    return started is not None and (ended is None or started > ended)


def _latest(cron: str, now: datetime) -> datetime | None:
    """Return the latest due time before `now`, also in an hour that the clock repeats."""
    moments = (now, _end_of_first_pass(now)) if now.fold else (now,)  # CronSim skips the first pass of such an hour
    found = [next(CronSim(cron, moment, reverse=True), None) for moment in moments]
    return max((due.astimezone(UTC) for due in found if due is not None), default=None)


def _end_of_first_pass(now: datetime) -> datetime:
    """Return the last minute before the local clock went back, for a time in the repeated hour."""
    moment = now
    while moment.utcoffset() == now.utcoffset():
        moment = (moment.astimezone(UTC) - timedelta(minutes=1)).astimezone(now.tzinfo)
    return moment
