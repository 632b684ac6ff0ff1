"""Whose turn it is: pressure goes first, turns are short, and nobody waits for another's Redis."""

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


def one_redis(_pool) -> str:
    return "redis"


def redis_of_its_own(pool) -> str:
    return pool.ref.name


def chosen(schedule: Schedule, now: float) -> list[PoolRef]:
    return [pool.ref for batch in schedule.batches(now, one_redis) for pool in batch.pools]


@pytest.fixture
def many():
    return pools_of(3 * AT_ONCE)


async def test_many_pools_have_their_turns_one_after_the_other(many):
    """No turn is longer than so many pools, and all have been looked at in the end."""
    schedule, seen = Schedule(many, gap_s=0.05), set()
    for _ in range(3):
        (batch,) = schedule.batches(NOW, one_redis)
        assert len(batch.pools) == AT_ONCE
        assert schedule.batches(NOW, one_redis) == []
        schedule.release(batch)
        seen |= {pool.ref for pool in batch.pools}
    assert len(seen) == 3 * AT_ONCE


async def test_who_is_under_pressure_goes_before_those_that_are_merely_due(many):
    """A sign of pressure puts the pool into the next turn, wherever it stood."""
    schedule = Schedule(many, gap_s=0.05)
    last = named(3 * AT_ONCE - 1)
    schedule.request_read(last)
    assert chosen(schedule, NOW)[0] == last


async def test_a_redis_that_does_not_answer_holds_only_its_own_pools_up():
    """While one place is waited for, another has turn after turn."""
    schedule = Schedule(pools_of(2), gap_s=0.05)
    hangs, answers = schedule.batches(NOW, redis_of_its_own)
    for round_ in range(1, 4):
        schedule.release(answers)
        for pool in answers.pools:
            schedule.finish(pool)
        (answers,) = schedule.batches(NOW + 1000 * round_, redis_of_its_own)
        assert answers.group != hangs.group


async def test_a_pool_that_is_being_served_is_not_chosen_again_until_it_has_been():
    """A write that takes long is not doubled; pressure that was felt meanwhile is not lost, and others go on."""
    schedule = Schedule(pools_of(2), gap_s=0.05)
    (batch,) = schedule.batches(NOW, one_redis)
    schedule.release(batch)
    schedule.finish(batch.pools[1])
    schedule.request_read(named(0))
    assert chosen(schedule, NOW + 1000) == [named(1)]
    schedule.finish(batch.pools[0])
    assert chosen(schedule, NOW + 1000) == []  # their Redis is being asked about the other
    schedule.release(batch)
    assert chosen(schedule, NOW + 1000) == [named(0)]


async def test_pressure_of_a_pool_that_is_not_known_is_not_kept():
    """Signals of other operators' pools on the same Redis leave nothing behind."""
    schedule = Schedule(pools_of(0), gap_s=0.05)
    schedule.request_read(named(7))
    assert not schedule._urgent


async def test_who_has_waited_longest_goes_before_any_number_under_pressure(many):
    """Pools under steady pressure fill every turn of their Redis; the others have theirs all the same."""
    schedule = Schedule(many, gap_s=0.05)
    patient = named(0)
    for pool in many:
        pool.due_at = NOW - (URGENT_AHEAD_SECONDS + 1.0 if pool.ref == patient else 0.0)
        if pool.ref != patient:
            schedule._urgent.add(pool.ref)
    assert chosen(schedule, NOW)[0] == patient


async def test_who_became_due_since_the_last_turns_is_not_waited_past(many):
    """Rest sees that somebody has not been looked at, though his time has come."""
    schedule = Schedule(many, gap_s=0.05)
    now = time.monotonic()
    for pool in many:
        pool.due_at = NOW
    next(iter(many)).due_at = now
    async with asyncio.timeout(10):
        await schedule.rest(since=now - 1.0)


async def test_rest_ends_by_pressure_by_an_answer_and_by_the_end_of_a_turn(many, monkeypatch):
    """Whoever waits for one of these is woken by it; the clock alone would not have."""
    monkeypatch.setattr(agentpool_operator.queue.read_order, "LONGEST_WAIT_SECONDS", 600.0)
    schedule = Schedule(many, gap_s=0.05)
    (batch,) = schedule.batches(NOW, one_redis)
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
    schedule.finish(batch.pools[0])  # it was pressed meanwhile
    await asyncio.wait_for(resting, 10)
