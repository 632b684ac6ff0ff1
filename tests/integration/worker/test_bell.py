"""The bell between workers wakes a single waiter, and only a waiter that can use the job."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.completions import Wake
from tests.fixtures.workers import until


@pytest.fixture
async def consumers(redis, pool):
    """Two registered workers of one pool."""
    made = [Consumer(redis, pool, WorkerId(name)) for name in ("full", "idle")]
    for consumer in made:
        await consumer.register(slots=1, host="here")
    return made


async def test_a_full_worker_passes_the_bell_on(redis, pool, consumers):
    """A worker without a free slot that hears the bell rings for a second worker."""
    full, idle = consumers
    await Producer(redis, pool).submit(JobRequest(kind="any"))
    assert await full.wait(5_000) == [Wake()]
    assert await full.claim(0) == []
    assert await idle.wait(5_000) == [Wake()]
    assert len(await idle.claim(1)) == 1
    assert await idle.claim(0) == []
    assert await idle.wait(1) == []


async def test_jobs_find_the_idle_worker_among_busy_ones(workers, redis, pool):
    """Beside a full worker, a new job starts on the idle worker at once, again and again."""
    await Inspector(redis).configure(pool, PoolSettings(concurrency=1))
    started = [workers.start(AGENTPOOL_SAFETY_POLL_SECONDS="600") for _ in range(2)]
    for worker in started:
        await until(worker.ready, "the workers are ready")
    producer = Producer(redis, pool)
    long = await producer.submit(JobRequest(kind="nap", payload=600))
    await until(lambda: workers.runs()["start", long.job_id], "one worker is full")
    for _ in range(10):
        job = await producer.submit(JobRequest(kind="nap", payload=0.0))
        await until(lambda job=job: workers.runs()["end", job.job_id], "the idle worker ran the job")
    await producer.cancel(long.job_id)
    await asyncio.gather(*(asyncio.to_thread(end, worker) for worker in started))


def end(worker) -> None:
    worker.process.terminate()
    assert worker.wait() == 0
