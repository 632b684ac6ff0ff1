"""A pool by its settings: it is found by them, and takes nothing new while they call it retired."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool.errors import RetiredPoolError
from agentpool.jobs import JobRequest, JobState, Priority, WorkerId
from agentpool.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool.queue.outcomes import Failed


async def test_pools_are_found_by_their_settings(redis, pool):
    """Every pool with settings is listed once."""
    assert pool in await Inspector(redis).pools()
    await Inspector(redis).purge(pool)
    assert pool not in await Inspector(redis).pools()


async def test_a_retired_pool_takes_no_new_jobs_until_it_is_set_up_anew(redis, pool):
    """What it keeps can still be read and asked for again; a job that nobody would run is refused with the remedy."""
    inspector, producer = Inspector(redis), Producer(redis, pool)
    keyed = JobRequest(kind="greet", payload=1, idempotency_key="once")
    kept = await producer.submit(keyed)
    await inspector.configure(pool, replace(await inspector.settings(pool), retired=True))
    for request in (JobRequest(kind="greet"), JobRequest(kind="greet", priority=Priority.CRITICAL)):
        with pytest.raises(RetiredPoolError, match=r"was deleted .* apply its AgentPool again"):
            await producer.submit(request)
    with pytest.raises(RetiredPoolError):
        await producer.submit_many([JobRequest(kind="greet")])
    assert (await producer.submit(keyed)).duplicate
    assert (await inspector.job(pool, kept.job_id)).payload == 1
    await inspector.configure(pool, PoolSettings())
    assert not (await producer.submit(JobRequest(kind="greet"))).duplicate


async def test_a_retired_pool_replays_no_dead_letter_until_it_is_set_up_anew(redis, pool):
    """Nobody would run it: it stays dead, where it can be seen, and is replayed once the pool is back."""
    inspector = Inspector(redis)
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x", max_attempts=1))
    consumer = Consumer(redis, pool, WorkerId("w1"))
    await consumer.register(slots=1, host="here")
    (lease,) = await consumer.claim(1)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="boom")])
    await inspector.configure(pool, replace(await inspector.settings(pool), retired=True))
    with pytest.raises(RetiredPoolError, match="apply its AgentPool again"):
        await inspector.replay(pool, receipt.job_id)
    assert [job.job_id for job in await inspector.dead(pool)] == [receipt.job_id]
    await inspector.configure(pool, PoolSettings())
    await inspector.replay(pool, receipt.job_id)
    assert (await inspector.job(pool, receipt.job_id)).state is JobState.QUEUED
