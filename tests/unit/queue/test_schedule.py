"""Due times: cron in a time zone with changes of the clock, intervals, and the policies for missed due times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agentpool_core.errors import InvalidJobError
from agentpool_core.queue.schedule import Missed, Schedule

BERLIN = "Europe/Berlin"  # 2026: 29 March 2:00 becomes 3:00, 25 October 3:00 becomes 2:00


def ms(text: str) -> int:
    """Milliseconds of a time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def due(schedule: Schedule, after: str, count: int) -> list[str]:
    """The next due times after a time, in UTC."""
    found, at_ms = [], ms(after)
    for _ in range(count):
        at_ms = schedule.next_after(at_ms)
        found.append(datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%d %H:%M"))
    return found


def cron(text: str, **fields) -> Schedule:
    """A schedule of a cron expression in Berlin."""
    return Schedule(name="s", kind="k", cron=text, time_zone=BERLIN, **fields)


def test_a_cron_expression_follows_its_time_zone():
    """Half past six in Berlin is 5:30 in UTC in winter and 4:30 in summer."""
    assert due(cron("30 6 * * *"), "2026-03-27T12:00", 3) == ["28 05:30", "29 04:30", "30 04:30"]


def test_a_fixed_time_that_a_change_skips_is_due_right_after_it():
    """2:30 does not exist on 29 March; the job is due at 3:00 local time, and the next day at 2:30 again."""
    assert due(cron("30 2 * * *"), "2026-03-28T12:00", 2) == ["29 01:00", "30 00:30"]


def test_a_fixed_time_that_occurs_twice_is_due_once():
    """2:30 occurs twice on 25 October; the job is due at the first."""
    assert due(cron("30 2 * * *"), "2026-10-24T12:00", 2) == ["25 00:30", "26 01:30"]


def test_an_hourly_expression_follows_real_time_over_both_changes():
    """Every hour of real time has one due time."""
    assert due(cron("0 * * * *"), "2026-03-29T00:00", 3) == ["29 01:00", "29 02:00", "29 03:00"]
    assert due(cron("0 * * * *"), "2026-10-24T23:30", 4) == ["25 00:00", "25 01:00", "25 02:00", "25 03:00"]


def test_an_interval_is_a_multiple_since_1970():
    """So its due times do not depend on a start."""
    every = Schedule(name="s", kind="k", every_ms=90_000)
    assert every.next_after(0) == 90_000
    assert every.next_after(89_999) == 90_000
    assert every.next_after(90_000) == 180_000


@pytest.mark.parametrize(
    "schedule", [cron("*/10 * * * *"), cron("30 2 * * *"), Schedule(name="s", kind="k", every_ms=7000)]
)
def test_looking_back_finds_the_same_due_times_as_looking_ahead(schedule: Schedule):
    """The due times agree over a change of the clock, and at the exact bounds."""
    first, until = ms("2026-10-24T00:00"), ms("2026-10-26T12:00") if schedule.cron else ms("2026-10-24T00:05")
    ahead, at_ms = [], first - 1
    while (at_ms := schedule.next_after(at_ms)) <= until:
        ahead.append(at_ms)
    assert schedule.latest_due(first, until, most=10_000) == ahead
    assert schedule.latest_due(first, ahead[-1], most=2) == ahead[-2:]
    assert schedule.latest_due(first, ahead[-1] - 1, most=1) == ahead[-2:-1]


def test_the_policies_for_missed_due_times():
    """After an outage of an hour, a policy gives no due time, a single due time, or the latest due times."""
    first, now = ms("2026-06-01T10:00"), ms("2026-06-01T11:05")
    times = [ms(f"2026-06-01T{text}") for text in ("10:00", "10:20", "10:40", "11:00")]
    assert cron("*/20 * * * *", missed=Missed.SKIP).to_submit(first, now) == []
    assert cron("*/20 * * * *", missed=Missed.SKIP).to_submit(first, times[-1] + 60_000) == times[-1:]
    assert cron("*/20 * * * *", missed=Missed.ONCE).to_submit(first, now) == times[-1:]
    assert cron("*/20 * * * *", missed=Missed.ALL, max_catch_up=3).to_submit(first, now) == times[1:]
    assert cron("*/20 * * * *", missed=Missed.ALL).to_submit(first, now) == times


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "0 0 * * *", "every_ms": 1000}, "cron"),
        ({}, "cron"),
        ({"every_ms": 1500}, "every_ms"),
        ({"cron": "0 0 * * *", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"cron": "0 0 * * *", "time_zone": "../etc/passwd"}, "time_zone"),
        ({"every_ms": 1000, "max_catch_up": 0}, "max_catch_up"),
        ({"every_ms": 1000, "name": "a b"}, "name"),
        ({"every_ms": 1000, "kind": "a b"}, "kind"),
    ],
)
def test_a_schedule_that_cannot_be_used_is_refused(fields: dict, named: str):
    """The error names the field and the remedy."""
    with pytest.raises(InvalidJobError) as refused:
        Schedule(**{"name": "s", "kind": "k"} | fields)
    assert refused.value.field == named
    assert refused.value.remedy
