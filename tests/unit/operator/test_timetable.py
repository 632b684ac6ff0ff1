"""The minimum by timetable: active from a start to the next end, by the local clock."""

from __future__ import annotations

import itertools
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from agentpool_core.spec.scaling import Scaling
from agentpool_operator.scaling.policy import Minimum
from agentpool_operator.scaling.timetable import Period, minimum_at

OFFICE = Period(name="office", start="45 7 * * 1-5", end="0 18 * * 1-5", time_zone="Europe/Berlin", min_replicas=4)
NIGHT = Period(name="night", start="0 22 * * *", end="0 6 * * *", time_zone="Europe/Berlin", min_replicas=2)
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    """The time of a local clock in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("text", "minimum"),
    [
        ("2026-11-27T07:44:59", Minimum(replicas=1)),
        ("2026-11-27T07:45:00", Minimum(replicas=4, schedule="office")),
        ("2026-11-27T17:59:59", Minimum(replicas=4, schedule="office")),
        ("2026-11-27T18:00:00", Minimum(replicas=1)),
        ("2026-11-28T12:00:00", Minimum(replicas=1)),  # a Saturday
        ("2026-11-28T23:00:00", Minimum(replicas=2, schedule="night")),
        ("2026-11-29T05:59:00", Minimum(replicas=2, schedule="night")),  # over midnight
        ("2026-03-30T07:45:00", Minimum(replicas=4, schedule="office")),  # after the change to summer time
    ],
)
def test_a_schedule_is_active_from_its_start_to_its_end(text, minimum):
    """Start and end follow the clock of the time zone; the higher of several minimums applies."""
    assert minimum_at(1, (OFFICE, NIGHT), at(text)) == minimum


@pytest.mark.parametrize(
    ("start", "end", "changes"),
    [
        ("30 2 * * *", "0 6 * * *", ["02:30 CEST", "06:00 CET"]),
        ("0 1 * * *", "30 2 * * *", ["01:00 CEST", "02:30 CEST"]),
        ("0 22 * * *", "0 6 * * *", ["22:00 CEST", "06:00 CET"]),
        ("0 2 * * *", "0 3 * * *", ["02:00 CEST", "03:00 CET"]),
    ],
)
def test_a_minimum_neither_lapses_nor_returns_when_the_clock_goes_back(start, end, changes):
    """On 25 October 2026 in Berlin, the hour from two to three o'clock comes twice."""
    period = Period(name="x", start=start, end=end, time_zone="Europe/Berlin", min_replicas=2)
    began = at("2026-10-24T20:00:00")
    active = [(minute, minimum_at(0, (period,), began + 60 * minute).replicas > 0) for minute in range(12 * 60)]
    turns = [minute for (_, before), (minute, after) in itertools.pairwise(active) if before is not after]
    assert [f"{datetime.fromtimestamp(began + 60 * minute, BERLIN):%H:%M %Z}" for minute in turns] == changes


def test_the_highest_minimum_applies():
    """A schedule never lowers minReplicas, and among active schedules the highest counts."""
    both = (OFFICE, Period(name="all", start="0 0 * * *", end="59 23 * * *", time_zone="UTC", min_replicas=6))
    assert minimum_at(5, (OFFICE,), at("2026-11-27T12:00:00")) == Minimum(replicas=5)
    assert minimum_at(1, both, at("2026-11-27T12:00:00")) == Minimum(replicas=6, schedule="all")


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("start", "45 7 * *", "start"),
        ("end", "0 25 * * *", "end"),
        ("end", "45 7  * * 1-5", "end"),  # the same as start: never active
        ("timeZone", "Europe/Nowhere", "time_zone"),
    ],
)
def test_an_unusable_schedule_is_refused_by_field(field, value, named):
    """The error names the field, the value and the remedy."""
    plain = {"name": "office", "start": "45 7 * * 1-5", "end": "0 18 * * 1-5", "minReplicas": 4} | {field: value}
    with pytest.raises(ValueError, match=named) as caught:
        Scaling.model_validate({"schedules": [plain]})
    assert value in str(caught.value)
