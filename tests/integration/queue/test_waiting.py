"""The wait of a worker: one bell for one worker, the job in the bell's answer, and lost answers."""

from __future__ import annotations

import asyncio

from agentpool_core.jobs import JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer
from agentpool_core.queue.completions import Wake
from agentpool_core.sync_client import SyncClient


async def worker_of(redis, pool, name="w1", slots=10) -> Consumer:
    consumer = Consumer(redis, pool, WorkerId(name))
    await consumer.register(slots=slots, host="here")
    return consumer


async def idle_worker_of(redis, pool) -> Consumer:
    """Return a worker that has heard the bell of the pool's new settings, so its next wait lasts until a job comes."""
    consumer = await worker_of(redis, pool)
    assert await consumer.wait(1000) == [Wake()]
    return consumer


async def test_one_bell_wakes_one_worker_and_a_full_claim_rings_again(redis, pool):
    """A submit rings once; a worker that fills its slots and leaves work behind rings for the next worker."""
    await Producer(redis, pool).submit_many([JobRequest(kind="x")] * 3)
    consumer = await worker_of(redis, pool)
    assert await consumer.wait(1000) == [Wake()]
    assert await consumer.wait(10) == []
    await consumer.claim(1)
    assert await consumer.wait(1000) == [Wake()]
    await consumer.claim(10)
    assert await consumer.wait(10) == []


async def test_a_lost_answer_strands_no_job(redis, pool):
    """The next claim requeues the leases of a lost answer, without counting an attempt."""
    await Producer(redis, pool).submit_many([JobRequest(kind="x", payload=n) for n in range(2)])
    consumer = await worker_of(redis, pool)
    (known,) = await consumer.claim(1)
    stranger = Consumer(redis, pool, WorkerId("w1"))  # the same worker's claim, with a dropped answer
    await stranger.claim(1)
    consumer._answer_lost = True
    (again,) = await consumer.claim(5)
    assert (again.payload, again.attempt, again.token) == (1, 1, 2)
    assert known.payload == 0


async def test_the_shortest_wait_ends(redis, pool):
    """Redis 6.2 would take less than a millisecond for ever."""
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    async with asyncio.timeout(10):
        await consumer.wait(0)  # the bell that new settings rang
        assert await consumer.wait(0) == []
        assert await consumer.wait_and_claim(1, 1) == ([], [])


async def test_an_idle_worker_gets_its_job_with_the_bell(redis, pool):
    """A claim sent behind the blocking read runs at the bell: one round trip from submit to lease."""
    consumer = await idle_worker_of(redis, pool)
    waiting = asyncio.create_task(consumer.wait_and_claim(10_000, 5))
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x"))
    controls, leases = await waiting
    assert controls == [Wake()]
    assert [lease.job_id for lease in leases] == [receipt.job_id]
    assert await consumer.wait_and_claim(10, 5) == ([], [])


async def test_a_cancelled_wait_requeues_its_jobs(redis, redis_url, pool):
    """A worker that stops waiting strands no job, and counts no attempt.

    The submit blocks this event loop: the server has leased the job, and the worker has not read the answer.
    """
    consumer = await idle_worker_of(redis, pool)
    waiting = asyncio.create_task(consumer.wait_and_claim(10_000, 5))
    await asyncio.sleep(0)
    with SyncClient(redis_url, pool=pool) as client:
        receipt = client.submit("x")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await consumer.deregister()
    job = await Inspector(redis).job(pool, receipt.job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)
