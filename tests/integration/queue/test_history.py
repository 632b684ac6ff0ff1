"""The history of a pool: a point each half minute, an hour of points, and the estimate of a wait from them."""

from __future__ import annotations

import pytest

from agentpool_core.errors import UnknownPoolError
from agentpool_core.jobs import JobRequest, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Producer
from agentpool_core.queue.history import APART_MS, DAY_MS, POINTS, QUARTER_MS, PoolHistory
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.wait_estimate import estimated_wait_ms

DAYS_AGO = (1, 2, 3, 7, 14)


async def later(redis, pool: PoolRef, ms: int) -> None:
    """Move the pool's clock on."""
    await redis.hincrby(Keys(pool).counters, "clock_offset_ms", ms)


async def test_points_are_half_a_minute_apart_and_an_hour_of_them_is_kept(redis, pool: PoolRef):
    """Two operators record no more than one; an unknown number of workers stays unknown."""
    history = PoolHistory(redis, pool)
    await Producer(redis, pool).submit(JobRequest(kind="greet"))
    assert await history.points() == ()
    assert await history.record(desired=3, ready=2)
    assert not await history.record(desired=9, ready=9)
    await later(redis, pool, APART_MS)
    assert await history.record(desired=None, ready=None)
    first, second = await history.points()
    assert (first.queued, first.desired, first.ready) == (1, 3, 2)
    assert (second.desired, second.ready) == (None, None)
    assert second.at_ms - first.at_ms >= APART_MS
    for _ in range(POINTS):
        await later(redis, pool, APART_MS)
        assert await history.record(desired=0, ready=0)
    points = await history.points()
    assert len(points) == POINTS
    assert all(point.desired == 0 for point in points)


async def test_a_pool_without_settings_has_no_history(redis, pool_ref: PoolRef):
    """A point of an unknown pool would be a key without an owner."""
    with pytest.raises(UnknownPoolError):
        await PoolHistory(redis, pool_ref).record(desired=1, ready=1)
    assert not await redis.exists(Keys(pool_ref).history)


async def test_the_snapshot_with_history_estimates_the_present_work(redis, pool: PoolRef):
    """The estimate follows the jobs under way, although the totals of the pool are those of many short jobs."""
    history, worker = PoolHistory(redis, pool), Consumer(redis, pool, WorkerId("w"))
    await worker.register(slots=1, host="h")
    await redis.hset(Keys(pool).counters, mapping={"attempts": "10000", "run_ms": "100000"})
    await Producer(redis, pool).submit_many([JobRequest(kind="greet") for _ in range(3)])
    assert len(await worker.claim(1)) == 1
    await history.record(desired=1, ready=1)
    await later(redis, pool, 20_000)
    await worker.renew(slots=1, running=1)
    wait_ms = estimated_wait_ms(await history.snapshot())
    assert wait_ms is not None
    assert wait_ms >= 3 * 20_000


async def test_an_entry_that_is_no_point_hides_no_other_point(redis, pool: PoolRef):
    """Fields of a different version, or text in place of a number, leave out one point; the queue stays readable."""
    history = PoolHistory(redis, pool)
    await history.record(desired=1, ready=1)
    (point,) = await history.points()
    await redis.xadd(Keys(pool).history, {"foo": "bar"})
    await redis.xadd(Keys(pool).history, dict.fromkeys(("queued", "running", "slots"), "x"))
    assert await history.points() == (point,)
    assert (await history.snapshot()).history == (point,)


async def test_a_pool_that_learns_keeps_the_load_of_each_quarter_of_an_hour(redis, pool: PoolRef):
    """The mean of the running jobs is kept once for each quarter, if the operator has seen enough of it."""
    history, worker = PoolHistory(redis, pool), Consumer(redis, pool, WorkerId("w"))
    await Producer(redis, pool).submit_many([JobRequest(kind="greet") for _ in range(6)])
    seconds, _ = await redis.time()
    await later(redis, pool, QUARTER_MS - int(seconds) * 1000 % QUARTER_MS)  # the next quarter begins
    for _ in range(10):
        await history.record(desired=1, ready=1, patterns=True)
        await later(redis, pool, APART_MS)
    await worker.register(slots=8, host="h")
    assert len(await worker.claim(6)) == 6
    for _ in range(20):
        await history.record(desired=1, ready=1, patterns=True)
        await later(redis, pool, APART_MS)
    begin_ms = (await history.points())[0].at_ms
    assert not await redis.exists(Keys(pool).quarters), "the quarter has not ended"
    for _ in range(2):
        await history.record(desired=1, ready=1, patterns=True)
        await later(redis, pool, APART_MS)
    assert await redis.xlen(Keys(pool).quarters) == 1
    assert await history.past_loads(begin_ms + DAY_MS, DAYS_AGO) == {1: 4.0}
    assert await history.past_loads(begin_ms + 14 * DAY_MS, DAYS_AGO) == {14: 4.0}
    assert await history.past_loads(begin_ms, DAYS_AGO) == {}


async def test_a_quarter_with_few_points_or_of_a_pool_that_does_not_learn_is_not_kept(redis, pool: PoolRef):
    """An operator that was away has not seen the load."""
    history = PoolHistory(redis, pool)
    for _ in range(40):
        await history.record(desired=1, ready=1)
        await later(redis, pool, APART_MS)
    assert not await redis.exists(Keys(pool).quarters)
    for _ in range(10):
        await later(redis, pool, QUARTER_MS // 4)
        await history.record(desired=1, ready=1, patterns=True)
    points = (await history.points())[-10:]
    kept = [int(entry.partition("-")[0]) for entry, _ in await redis.xrange(Keys(pool).quarters)]
    assert all(at_ms < points[1].at_ms for at_ms in kept), "only the first quarter can have its points"


@pytest.mark.parametrize(
    "fields", [{"running": "inf"}, {"running": "1e999"}, {"running": "nan"}, {"running": "x"}, {"a": "b"}]
)
async def test_an_entry_that_is_no_load_hides_no_other_day(redis, pool: PoolRef, fields):
    """An endless load would stop the scaling of the pool, and text would hide the loads of all other days."""
    at_ms = 30 * DAY_MS
    await redis.xadd(Keys(pool).quarters, {"running": "2.50"}, id=f"{at_ms - 2 * DAY_MS}-0")
    await redis.xadd(Keys(pool).quarters, fields, id=f"{at_ms - DAY_MS}-0")
    assert await PoolHistory(redis, pool).past_loads(at_ms, DAYS_AGO) == {2: 2.5}


async def test_a_foreign_key_in_place_of_the_quarters_hinders_no_point(redis, pool: PoolRef):
    """The points of the last hour go on; only the load of past days is not known."""
    await redis.set(Keys(pool).quarters, "text")
    history = PoolHistory(redis, pool)
    for _ in range(3):
        assert await history.record(desired=1, ready=1, patterns=True)
        await later(redis, pool, APART_MS)
    assert len(await history.points()) == 3
