"""Redis's clock is set while the queue works: what lasts for a while lasts no longer, and who lives keeps its lease."""

from __future__ import annotations

import itertools

import pytest

from agentpool_core.jobs import JobRequest, Priority, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer, scripts
from agentpool_core.queue.completions import Failed
from agentpool_core.queue.keys import Keys

HOUR_MS = 3_600_000
LEASE_MS = 10_000  # of the fixture's pool


async def set_clock(redis, pool, by_ms):
    """As if Redis's clock were set forward, or back where it is negative."""
    await redis.hincrby(Keys(pool).counters, "clock_offset_ms", by_ms)


async def worker(redis, pool, name):
    consumer = Consumer(redis, pool, WorkerId(name))
    await consumer.register(slots=5, host="h")
    return consumer


async def test_a_lost_worker_is_missed_in_time_though_the_clock_was_set_back(redis, pool):
    """Its lease was to last until a moment that is now an hour away; it ends about a lease later all the same."""
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    lost, other = await worker(redis, pool, "lost"), await worker(redis, pool, "other")
    assert len(await lost.claim(1)) == 1
    await set_clock(redis, pool, -HOUR_MS)
    assert (await other.maintain()).recovered == 0
    await set_clock(redis, pool, LEASE_MS * 4 // 3)  # the pool's time is slower until it is Redis's again
    await other.renew(slots=5, running=0)
    assert (await other.maintain()).recovered == 1


@pytest.mark.parametrize("by_ms", [-HOUR_MS, -1_500, -10, 10])
async def test_who_lives_keeps_its_lease_when_the_clock_is_set(redis, pool, by_ms):
    """Whoever renews first or looks after the queue first: nobody who renews is taken for lost."""
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
    await set_clock(redis, pool, 1_400)  # the pool's time is slower until it is Redis's again
    assert (await consumer.maintain()).promoted == 1


async def test_the_pool_s_time_becomes_redis_s_again(redis, pool):
    """Slowly, and without ever going back, not even where the clock leaps forward again meanwhile."""
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


async def test_what_was_written_in_a_leap_comes_due(redis, pool):
    """A retry that was put off by the time of a forward leap is due soon, though the pool's time was ahead before."""
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


async def test_jobs_go_the_short_way_after_the_clock_was_set_back(redis, pool):
    """Plain submits and claims need no help of the longer scripts, and go by the pool's time."""
    keys, producer = Keys(pool), Producer(redis, pool)
    consumer = await worker(redis, pool, "w")
    await producer.submit(JobRequest(kind="x"))
    await consumer.claim(1)
    before = await redis.hincrby(keys.counters, "clock_seen_ms", HOUR_MS)  # Redis's clock was an hour further
    await consumer.renew(slots=5, running=1)
    receipt = await producer.submit(JobRequest(kind="x"))
    reply = await redis.execute_command("EVAL", scripts.CLAIM_PLAIN.source, 1, keys.conf, "w", "")
    assert (reply[0], reply[5]) == ("ok", receipt.job_id)
    assert int(reply[6].split()[2]) >= before  # as the lease has it


async def test_nobody_seems_to_have_waited_while_the_clock_was_set(redis, pool):
    """Jobs' ages go by the clock that gave them their place, not by the time that is ahead of it."""
    consumer = await worker(redis, pool, "w")
    await redis.hincrby(Keys(pool).counters, "clock_seen_ms", HOUR_MS)
    await consumer.renew(slots=5, running=0)
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    assert (await Inspector(redis).snapshot(pool)).oldest_wait_ms < HOUR_MS // 2
    (lease,) = await consumer.claim(1)
    assert lease.claimed_at_ms - lease.enqueued_at_ms < HOUR_MS // 2


async def test_a_delay_given_while_nobody_looks_is_kept(redis, pool):
    """The clock went back while no worker was there: neither does a delay end at once, nor does a ttl."""
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
        await set_clock(redis, pool, 40_000)  # the pool's time is slower until it is Redis's again
        await consumer.renew(slots=5, running=0)
    done = await consumer.maintain()
    assert (done.promoted, done.expired) == (1, 1)


async def test_a_critical_job_still_asks_for_room_after_the_clock_was_set_back(redis, pool):
    """Who may be asked to yield is told by how long its entry has waited, by the clock that marked the entry."""
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
