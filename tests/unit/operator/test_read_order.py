"""The order of readings: pressure goes first, batches are short, and no pool waits for a foreign Redis."""

from __future__ import annotations

import asyncio
import time

import pytest

import agentpool_operator.queue.read_order
from agentpool_core.jobs import PoolRef
from agentpool_operator.pools.registry import Pools
from agentpool_operator.queue.read_order import AT_ONCE, URGENT_AHEAD_SECONDS, Schedule

NOW = 1_000_000_000.0  # seconds, later than any clock of a test's machine


def named(number: int) -> PoolRef:
    return PoolRef("ns", f"p{number}")


def pools_of(count: int, **spec) -> Pools:
    pools = Pools()
    for number in range(count):
        name = named(number).name
        pools.see_pool(
            {
                "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"},
                "spec": {"handler": {"command": {"argv": ["true"]}}, **spec},
            }
        )
    return pools


def shared_redis(_pool) -> str:
    return "redis"


def separate_redis(pool) -> str:
    return pool.ref.name


def chosen(schedule: Schedule, now: float) -> list[PoolRef]:
    return [pool.ref for batch in schedule.batches(now, shared_redis) for pool in batch.pools]


@pytest.fixture
def many():
    return pools_of(3 * AT_ONCE)


async def test_many_pools_are_read_in_batches(many):
    """Each batch has a limited size, and the batches cover all pools."""
    schedule, seen = Schedule(many, gap_s=0.05), set()
    for _ in range(3):
        (batch,) = schedule.batches(NOW, shared_redis)
        assert len(batch.pools) == AT_ONCE
        assert schedule.batches(NOW, shared_redis) == []
        schedule.release(batch)
        seen |= {pool.ref for pool in batch.pools}
    assert len(seen) == 3 * AT_ONCE


async def test_a_pool_under_pressure_goes_before_pools_that_are_due(many):
    """A signal of pressure puts the pool into the next batch, from any position."""
    schedule = Schedule(many, gap_s=0.05)
    last = named(3 * AT_ONCE - 1)
    schedule.request_read(last)
    assert chosen(schedule, NOW)[0] == last


async def test_an_unresponsive_redis_delays_only_its_pools():
    """During the wait for a Redis, the pools of the second Redis are read repeatedly."""
    schedule = Schedule(pools_of(2), gap_s=0.05)
    hangs, answers = schedule.batches(NOW, separate_redis)
    for round_ in range(1, 4):
        schedule.release(answers)
        for pool in answers.pools:
            schedule.finish(pool)
        (answers,) = schedule.batches(NOW + 1000 * round_, separate_redis)
        assert answers.group != hangs.group


async def test_a_pool_in_service_is_not_chosen_again():
    """A slow write is not repeated; a signal of pressure is kept, and the remaining pools go on."""
    schedule = Schedule(pools_of(2), gap_s=0.05)
    (batch,) = schedule.batches(NOW, shared_redis)
    schedule.release(batch)
    schedule.finish(batch.pools[1])
    schedule.request_read(named(0))
    assert chosen(schedule, NOW + 1000) == [named(1)]
    schedule.finish(batch.pools[0])
    assert chosen(schedule, NOW + 1000) == []  # their Redis is reading the second pool
    schedule.release(batch)
    assert chosen(schedule, NOW + 1000) == [named(0)]


async def test_pressure_of_an_unknown_pool_is_dropped():
    """Signals of foreign pools on the same Redis use no memory."""
    schedule = Schedule(pools_of(0), gap_s=0.05)
    schedule.request_read(named(7))
    assert not schedule._urgent


async def test_the_longest_wait_goes_before_any_number_of_pools_under_pressure(many):
    """Pools under steady pressure could fill every batch; the rest is read all the same."""
    schedule = Schedule(many, gap_s=0.05)
    patient = named(0)
    for pool in many:
        pool.due_at = NOW - (URGENT_AHEAD_SECONDS + 1.0 if pool.ref == patient else 0.0)
        if pool.ref != patient:
            schedule._urgent.add(pool.ref)
    assert chosen(schedule, NOW)[0] == patient


async def test_a_pool_that_became_due_ends_the_rest(many):
    """A pool that became due since the last batches is read without a further wait."""
    schedule = Schedule(many, gap_s=0.05)
    now = time.monotonic()
    for pool in many:
        pool.due_at = NOW
    next(iter(many)).due_at = now
    async with asyncio.timeout(10):
        await schedule.rest(since=now - 1.0)


async def test_the_rest_ends_by_pressure_by_an_answer_and_by_the_end_of_a_batch(many, monkeypatch):
    """Each event ends the rest; the clock alone would not."""
    monkeypatch.setattr(agentpool_operator.queue.read_order, "LONGEST_WAIT_SECONDS", 600.0)
    schedule = Schedule(many, gap_s=0.05)
    (batch,) = schedule.batches(NOW, shared_redis)
    for pool in many:
        pool.due_at = max(pool.due_at, NOW)
    resting = asyncio.create_task(schedule.rest(NOW))
    await asyncio.sleep(0)
    assert not resting.done()
    schedule.release(batch)  # more pools are due there
    await asyncio.wait_for(resting, 10)
    schedule.request_read(batch.pools[0].ref)
    await asyncio.wait_for(schedule.rest(NOW), 10)
    resting = asyncio.create_task(schedule.rest(NOW))
    await asyncio.sleep(0)
    schedule.finish(batch.pools[0])  # a signal of pressure came meanwhile
    await asyncio.wait_for(resting, 10)
