"""Redis's clock changes while the queue works: no duration becomes longer, and live workers keep their leases."""

from __future__ import annotations

import itertools
import time
from unittest.mock import AsyncMock

import pytest

from agentpool_core.jobs import JobRequest, Priority, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer, scripts
from agentpool_core.queue.completions import Failed
from agentpool_core.queue.keys import Keys
from agentpool_worker.durable.steps import Steps

HOUR_MS = 3_600_000
LEASE_MS = 10_000  # of the fixture's pool


async def set_clock(redis, pool, by_ms):
    """Simulate a change of Redis's clock: forward, or back if negative."""
    await redis.hincrby(Keys(pool).counters, "clock_offset_ms", by_ms)


async def worker(redis, pool, name):
    consumer = Consumer(redis, pool, WorkerId(name))
    await consumer.register(slots=5, host="h")
    return consumer


async def test_a_lost_worker_is_missed_in_time_though_the_clock_was_set_back(redis, pool):
    """The lease was to end at a moment that is now an hour away; the lease still ends after about its duration."""
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    lost, other = await worker(redis, pool, "lost"), await worker(redis, pool, "other")
    assert len(await lost.claim(1)) == 1
    await set_clock(redis, pool, -HOUR_MS)
    assert (await other.maintain()).recovered == 0
    await set_clock(redis, pool, LEASE_MS * 4 // 3)  # the pool's time runs slower until Redis's clock has caught up
    await other.renew(slots=5, running=0)
    assert (await other.maintain()).recovered == 1


@pytest.mark.parametrize("by_ms", [-HOUR_MS, -1_500, -10, 10])
async def test_a_live_worker_keeps_its_lease_when_the_clock_is_set(redis, pool, by_ms):
    """A live worker is not taken for lost, for any order of renewal and maintenance."""
    first, second = await worker(redis, pool, "first"), await worker(redis, pool, "second")
    await Producer(redis, pool).submit_many([JobRequest(kind="x")] * 2)
    await first.claim(1)
    await set_clock(redis, pool, by_ms)
    assert (await first.renew(slots=5, running=1)).still_registered
    assert (await second.maintain()).recovered == 0
    assert (await second.renew(slots=5, running=0)).still_registered
    assert len(await second.claim(1)) == 1
    assert (await first.maintain()).recovered == 0


async def test_a_delay_lasts_no_longer_when_the_clock_is_set_back(redis, pool):
    """A job delayed by a second is due after about a second, not after an hour and a second."""
    await Producer(redis, pool).submit(JobRequest(kind="x", delay_ms=1_000))
    consumer = await worker(redis, pool, "w")
    await set_clock(redis, pool, -HOUR_MS)
    assert (await consumer.maintain()).promoted == 0
    await set_clock(redis, pool, 1_400)  # the pool's time runs slower until Redis's clock has caught up
    assert (await consumer.maintain()).promoted == 1


async def test_the_pools_time_approaches_redis_time(redis, pool):
    """The pool's time approaches Redis's slowly and never goes back, even if the clock leaps forward meanwhile."""
    keys, lone = Keys(pool), await worker(redis, pool, "lone")
    await set_clock(redis, pool, -5_000)
    seen, ahead = [], []
    for leap_ms in (0, 2_000, 4_000, HOUR_MS, *[4_000] * 10):
        await set_clock(redis, pool, leap_ms)
        await lone.renew(slots=5, running=0)
        seen.append(int(await redis.hget(keys.counters, "clock_seen_ms")))
        ahead.append(int(await redis.hget(keys.counters, "clock_ahead_ms")))
    assert seen == sorted(seen)
    assert 4_000 < ahead[0] <= 5_000
    assert all(0 <= before - after <= 1_000 for before, after in itertools.pairwise(ahead))
    assert ahead[-1] == 0


async def test_a_retry_written_in_a_leap_becomes_due(redis, pool):
    """A retry scheduled by the time of a forward leap is due soon, although the pool's time was ahead before."""
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    consumer = await worker(redis, pool, "w")
    (lease,) = await consumer.claim(1)
    await set_clock(redis, pool, -HOUR_MS)
    await consumer.renew(slots=5, running=1)
    await set_clock(redis, pool, HOUR_MS)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="x", retry_after_ms=100)])
    await consumer.renew(slots=5, running=0)
    await set_clock(redis, pool, 10_000)
    assert (await consumer.maintain()).promoted == 1


async def test_short_scripts_serve_jobs_after_the_clock_was_set_back(redis, pool):
    """Plain submits and claims do not need the longer scripts, and use the pool's time."""
    keys, producer = Keys(pool), Producer(redis, pool)
    consumer = await worker(redis, pool, "w")
    await producer.submit(JobRequest(kind="x"))
    await consumer.claim(1)
    before = await redis.hincrby(keys.counters, "clock_seen_ms", HOUR_MS)  # Redis's clock was an hour ahead
    await consumer.renew(slots=5, running=1)
    receipt = await producer.submit(JobRequest(kind="x"))
    reply = await redis.execute_command("EVAL", scripts.CLAIM_PLAIN.source, 1, keys.conf, "w", "")
    assert (reply[0], reply[5]) == ("ok", receipt.job_id)
    assert int(reply[6].split()[2]) >= before  # as the lease states


async def test_a_change_of_the_clock_ages_no_job(redis, pool):
    """The age of a job follows the clock that gave the job its place, not the time that is ahead of that clock."""
    consumer = await worker(redis, pool, "w")
    await redis.hincrby(Keys(pool).counters, "clock_seen_ms", HOUR_MS)
    await consumer.renew(slots=5, running=0)
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    assert (await Inspector(redis).snapshot(pool)).oldest_wait_ms < HOUR_MS // 2
    (lease,) = await consumer.claim(1)
    assert lease.claimed_at_ms - lease.enqueued_at_ms < HOUR_MS // 2


async def test_a_lease_states_the_pools_time(redis, pool):
    """A wait ends at a moment of the pool's time: the handler's time must not go back with Redis's clock."""
    consumer = await worker(redis, pool, "w")
    before = await redis.hincrby(Keys(pool).counters, "clock_seen_ms", HOUR_MS)
    await consumer.renew(slots=5, running=0)
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    (lease,) = await consumer.claim(1)
    assert lease.leased_at_ms >= before
    assert Steps(lease, AsyncMock(), time.monotonic()).now_ms() >= before


async def test_a_delay_is_kept_without_maintenance(redis, pool):
    """The clock went back while no worker was running: neither a delay nor a ttl ends at once."""
    producer = Producer(redis, pool)
    consumer = await worker(redis, pool, "w")
    await consumer.deregister()
    await set_clock(redis, pool, -HOUR_MS)
    await producer.submit(JobRequest(kind="x", delay_ms=60_000))
    await producer.submit(JobRequest(kind="x", ttl_ms=60_000))
    consumer = await worker(redis, pool, "w")
    done = await consumer.maintain()
    assert (done.promoted, done.expired) == (0, 0)
    for _ in range(2):
        await set_clock(redis, pool, 40_000)  # the pool's time runs slower until Redis's clock has caught up
        await consumer.renew(slots=5, running=0)
    done = await consumer.maintain()
    assert (done.promoted, done.expired) == (1, 1)


async def test_a_critical_job_still_asks_for_room_after_the_clock_was_set_back(redis, pool):
    """The waiting time of an entry decides the request to yield, by the clock that created the entry."""
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    await set_clock(redis, pool, HOUR_MS)
    await consumer.renew(slots=1, running=0)
    await set_clock(redis, pool, -HOUR_MS)
    await consumer.renew(slots=1, running=0)
    producer = Producer(redis, pool)
    await producer.submit(JobRequest(kind="x", priority=Priority.INFO, preemptible=True))
    (lease,) = await consumer.claim(1)
    await producer.submit(JobRequest(kind="x", priority=Priority.CRITICAL))
    history = (await Inspector(redis).job(pool, lease.job_id)).history
    assert "yielding" in [entry.type for entry in history]
