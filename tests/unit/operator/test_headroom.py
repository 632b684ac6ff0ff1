"""Workers for a forecast number of busy slots: the size with the lowest cost of waiting and hours."""

from __future__ import annotations

import pytest

from agentpool_operator.scaling import learning
from agentpool_operator.scaling.headroom import cheapest_size, forecast
from agentpool_operator.scaling.memory import Learned
from agentpool_operator.scaling.observation import Backlog, Counters, Observation


def size(*, busy=0.0, rate=0.0, service_s=90.0, startup_s=30.0, target_s=5.0, most=40):
    ahead = forecast(busy=busy, rate=rate, service_s=service_s, startup_s=startup_s)
    return cheapest_size(ahead, service_s=service_s, startup_s=startup_s, target_s=target_s, slots=5, most=most)


def test_a_ramp_of_long_jobs_is_ahead_of_its_jobs():
    """Ten jobs of half an hour run, and a job a second arrives: a start-up later there will be forty."""
    ahead = forecast(busy=10, rate=1.0, service_s=1800.0, startup_s=30.0)
    assert ahead.mean == pytest.approx(39.6, abs=0.2)
    assert size(busy=10, rate=1.0, service_s=1800.0) >= 9


def test_long_jobs_are_predictable_within_a_short_start():
    """Of thirty-five jobs of ninety seconds few end within two seconds, so they need hardly any headroom."""
    steady = {"busy": 35.0, "rate": 35.0 / 90.0}
    assert size(**steady, startup_s=2.0) == 8
    assert size(**steady, startup_s=120.0) > size(**steady, startup_s=2.0)


def test_quick_jobs_need_no_more_than_their_wait_is_worth():
    """Jobs of a second start within a target of a minute anyway; with a target of a second headroom pays."""
    patient = size(busy=20, rate=20.0, service_s=1.0, target_s=60.0)
    assert size(busy=20, rate=20.0, service_s=1.0, target_s=1.0) > patient >= 4


@pytest.mark.parametrize("startup_s", [2.0, 30.0, 120.0])
def test_without_arrivals_no_more_slots_than_jobs_are_foreseen(startup_s):
    """Running jobs can only end; an empty pool foresees nothing."""
    assert size(busy=7, startup_s=startup_s) <= 2
    assert size(startup_s=startup_s) == 0


def test_more_load_never_asks_for_fewer_workers():
    """The size grows with the busy slots and with the rate."""
    by_busy = [size(busy=busy, rate=0.3) for busy in range(80)]
    by_rate = [size(busy=20, rate=rate / 20) for rate in range(40)]
    assert (by_busy, by_rate) == (sorted(by_busy), sorted(by_rate))


def learned(*arrivals: tuple[float, int], until: float) -> Learned:
    """Return the figures of looks every two seconds with these arrivals: time and jobs."""
    known, total, coming = Learned(), 0, dict(arrivals)
    for at in (2.0 * number for number in range(int(until / 2) + 1)):
        total += coming.get(at, 0)
        seen = Backlog(counters=Counters(submitted=total))
        known = learning.learn(known, Observation(replicas=0, backlog=seen), seen, at)
    return known


def test_a_batch_is_no_rate_and_a_silence_ends_a_load():
    """A single batch foretells nothing; a steady load does until three of its jobs have not come."""
    assert learning.expected_rate(learned((10.0, 50), until=12.0)) == 0.0
    steady = [(2.0 * number, 1) for number in range(1, 101)]
    assert learning.expected_rate(learned(*steady, until=200.0)) == pytest.approx(0.5, rel=0.1)
    assert learning.expected_rate(learned(*steady, until=204.0)) > 0.0
    assert learning.expected_rate(learned(*steady, until=220.0)) == 0.0


def test_few_arrivals_are_counted_over_ten_minutes():
    """A job every forty seconds has the same rate in each minute, whichever one looks at."""
    rare = [(40.0 * number, 1) for number in range(1, 31)]
    rates = [learning.expected_rate(learned(*rare, until=until)) for until in (1160.0, 1178.0, 1198.0)]
    assert rates == pytest.approx([1 / 40] * 3, rel=0.2)
