"""A worker's legacy for its successors: jobs, and the bell that announces the jobs."""

from __future__ import annotations

import signal

import pytest

from agentpool_core.jobs import JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.formats import FORMAT
from agentpool_core.queue.keys import Keys
from tests.fixtures.workers import until

LEASE_MS = 60_000  # longer than the test: no part may wait for the end of a lease


@pytest.fixture
async def producer(redis, pool):
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=LEASE_MS, concurrency=2))
    return Producer(redis, pool)


async def test_the_namesake_of_a_killed_worker_requeues_its_jobs_at_once(workers, producer, redis, pool):
    """A restarted container keeps its name, and its new lease must not hold the jobs of the old lease."""
    job = (await producer.submit(JobRequest(kind="nap", payload=0.4))).job_id
    doomed = workers.start("--worker", "pod-1")
    await until(lambda: workers.runs()["start", job], "the job runs")
    doomed.send(signal.SIGKILL)
    doomed.wait()
    workers.start("--worker", "pod-1")
    await until(lambda: workers.runs()["end", job] == 1, "the job runs again")
    assert (await Inspector(redis).job(pool, job)).attempt == 2


async def test_an_idle_worker_learns_of_the_jobs_of_a_leaving_worker(workers, producer, redis, pool):
    """A leaving worker passes on the bell for its requeued jobs."""
    leaving = workers.start("--worker", "leaving")
    await until(leaving.ready, "the leaving worker is ready")
    consumer = Consumer(redis, pool, WorkerId("leaving"))
    job = (await producer.submit(JobRequest(kind="nap", payload=600))).job_id
    await until(lambda: workers.runs()["start", job], "the job runs")
    idle = workers.start("--worker", "idle", AGENTPOOL_SAFETY_POLL_SECONDS="600")
    await until(idle.ready, "the idle worker is ready")
    await consumer.deregister()
    await until(lambda: workers.runs()["start", job] == 2, "the idle worker took the job")


async def test_a_worker_leaves_the_queue_to_a_newer_release(workers, redis, pool):
    """Its jobs are requeued without a counted attempt, and the error names both formats."""
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=1_000))
    leaving = workers.start("--worker", "older")
    await until(leaving.ready, "the worker is ready")
    job = (await Producer(redis, pool).submit(JobRequest(kind="nap", payload=600))).job_id
    await until(lambda: workers.runs()["start", job], "the job runs")
    await redis.hset(Keys(pool).conf, mapping={"format": FORMAT + 1, "revision": "of-the-newer"})
    assert leaving.wait() == 1
    assert f"has format '{FORMAT + 1}', and this release reads up to {FORMAT}" in leaving.log()
    await redis.hset(Keys(pool).conf, "format", FORMAT)
    found = await Inspector(redis).job(pool, job)
    assert (found.state, found.attempt) == (JobState.QUEUED, 0)
