"""A pool is listed by its settings, and accepts no new job while the settings retire the pool."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.errors import IdempotencyConflictError, RetiredPoolError
from agentpool_core.jobs import JobRequest, JobState, Priority, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue import inspector as inspector_module
from agentpool_core.queue.completions import Failed, Succeeded
from agentpool_core.queue.keys import Keys, index_of


async def test_pools_are_found_by_their_settings(redis, pool):
    """Every pool with settings is listed once."""
    assert pool in await Inspector(redis).pools()
    await Inspector(redis).purge(pool)
    assert pool not in await Inspector(redis).pools()


async def test_a_pool_is_found_where_memory_is_full_or_its_settings_were_lost(redis, pool):
    """The index is only a list.

    An indexed pool without settings is no pool, and publishing settings restores the pool.
    """
    await redis.delete(Keys(pool).conf)
    assert pool not in await Inspector(redis).pools()
    await redis.delete(index_of(pool.namespace))
    await redis.sadd(index_of(pool.namespace), "no/name", "..", "")
    await Inspector(redis).configure(pool, PoolSettings())
    assert await Inspector(redis).pools([pool.namespace]) == [pool]
    await redis.srem(index_of(pool.namespace), "no/name", "..", "")


async def test_a_purge_leaves_nothing_and_takes_a_bounded_part_at_once(redis, pool, monkeypatch):
    """Jobs in every state are deleted, together with their keys, orders and inboxes."""
    monkeypatch.setattr(inspector_module, "JOBS_A_SLICE", 10)
    producer, consumer = Producer(redis, pool), Consumer(redis, pool, WorkerId("w1"))
    await producer.submit_many([JobRequest(kind="x", idempotency_key=f"k{n}", max_attempts=1) for n in range(60)])
    parent = await producer.submit(JobRequest(kind="x", ttl_ms=60_000, preemptible=True))
    await producer.submit(JobRequest(kind="x", after=(parent.job_id,)))
    await producer.submit_many([JobRequest(kind="x", delay_ms=60_000) for _ in range(15)])
    await consumer.register(slots=40, host="here")
    leases = await consumer.claim(40)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="boom") for lease in leases[:15]])
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token, result=1) for lease in leases[15:30]])
    await producer.cancel(leases[30].job_id)
    asked = 0

    async def permitted() -> bool:
        nonlocal asked
        asked += 1
        return asked < 3 or asked > 4  # a pool of that name is created again, and deleted again

    inspector = Inspector(redis)
    first = await inspector.purge(pool, permitted=permitted)
    assert 20 <= first <= 80  # two slices, each job with its key
    await inspector.purge(pool, permitted=permitted)
    left = await inspector.purge(pool, permitted=permitted)
    assert left > 0
    assert asked > 10
    assert [key async for key in redis.scan_iter(match=f"{Keys(pool).prefix}*")] == []


async def test_a_purge_skips_unreadable_data(redis, pool):
    """A record of a wrong type, an event of unknown form, a missing stream: the purge deletes all the rest."""
    producer = Producer(redis, pool)
    first = await producer.submit(JobRequest(kind="x"))
    await redis.delete(Keys(pool).job(first.job_id))
    await redis.set(Keys(pool).job(first.job_id), "no hash")
    await redis.xadd(Keys(pool).events, {"0": "", "1": "queued"})
    await redis.hset(Keys(pool).counters, "c:no:stream", "0-0")
    await Inspector(redis).purge(pool)
    assert [key async for key in redis.scan_iter(match=f"{Keys(pool).prefix}*")] == []


async def test_no_key_name_carries_a_users_text(redis, pool):
    """An idempotency key may contain a customer's name and is hashed.

    The job's record and errors show the whole key.
    """
    text = "order of Ada Lovelace, +44 20 7946 0000"
    request = JobRequest(kind="x", payload={"text": text}, idempotency_key=text)
    receipt = await Producer(redis, pool).submit(request)
    names = [key async for key in redis.scan_iter(match="*")]
    assert len([name for name in names if name.startswith(f"{Keys(pool).prefix}key:")]) == 1
    assert not [name for name in names if "Ada" in name or "7946" in name]
    assert (await Inspector(redis).job(pool, receipt.job_id)).idempotency_key == text
    assert (await Producer(redis, pool).submit(request)).job_id == receipt.job_id
    with pytest.raises(IdempotencyConflictError, match="Ada Lovelace"):
        await Producer(redis, pool).submit(replace(request, payload="other"))


async def test_a_retired_pool_takes_no_new_jobs_until_its_next_setup(redis, pool):
    """The pool's jobs can still be read; a submit is refused with the remedy, because no worker would run the job."""
    inspector, producer = Inspector(redis), Producer(redis, pool)
    keyed = JobRequest(kind="greet", payload=1, idempotency_key="once")
    kept = await producer.submit(keyed)
    await inspector.configure(pool, replace(await inspector.settings(pool), retired=True))
    for request in (JobRequest(kind="greet"), JobRequest(kind="greet", priority=Priority.CRITICAL)):
        with pytest.raises(RetiredPoolError, match=r"is deleted .* apply the AgentPool again"):
            await producer.submit(request)
    with pytest.raises(RetiredPoolError):
        await producer.submit_many([JobRequest(kind="greet")])
    assert (await producer.submit(keyed)).duplicate
    assert (await inspector.job(pool, kept.job_id)).payload == 1
    await inspector.configure(pool, PoolSettings())
    assert not (await producer.submit(JobRequest(kind="greet"))).duplicate


async def test_a_retired_pool_replays_no_dead_letter_until_its_next_setup(redis, pool):
    """No worker would run the dead letter: the job stays dead and readable until the pool is set up again."""
    inspector = Inspector(redis)
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x", max_attempts=1))
    consumer = Consumer(redis, pool, WorkerId("w1"))
    await consumer.register(slots=1, host="here")
    (lease,) = await consumer.claim(1)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="boom")])
    await inspector.configure(pool, replace(await inspector.settings(pool), retired=True))
    with pytest.raises(RetiredPoolError, match="apply the AgentPool again"):
        await inspector.replay(pool, receipt.job_id)
    assert [job.job_id for job in await inspector.jobs(pool, JobState.FAILED)] == [receipt.job_id]
    await inspector.configure(pool, PoolSettings())
    await inspector.replay(pool, receipt.job_id)
    assert (await inspector.job(pool, receipt.job_id)).state is JobState.QUEUED
