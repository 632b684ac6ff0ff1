"""Jobs that end their workers, among innocent jobs: each culprit is found, and no innocent job is lost."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer
from tests.fixtures.redis import wait_until

SETTINGS = PoolSettings(concurrency=8, retry_initial_ms=20, retry_max_ms=50, lease_ms=10_000)
INNOCENT = 50
MEMORY_LIMIT = 220 * 2**20
CULPRITS = {  # kind: payload, and the text of the dead letter
    "end-the-process": (3, "exit code 3"),
    "segfault": (None, "SIGSEGV"),
    "use-up-memory": (2**21, "ran out of memory"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [1, 2])
async def test_poison_jobs_are_found_among_innocent_ones(workers, redis, pool, count):
    """With one worker or two, every innocent job succeeds, even with a single attempt.

    The three culprits name the cause.
    """
    inspector, producer = Inspector(redis), Producer(redis, pool)
    await inspector.configure(pool, SETTINGS)
    requests = [JobRequest(kind="nap", payload=0.1, max_attempts=1 + number % 2) for number in range(INNOCENT)]
    for place, (kind, (payload, _)) in enumerate(CULPRITS.items()):
        requests.insert(4 + 15 * place, JobRequest(kind=kind, payload=payload))
    receipts = await producer.submit_many(requests)
    for _ in range(count):
        workers.start(AGENTPOOL_MEMORY_LIMIT_BYTES=str(MEMORY_LIMIT))

    async def over():
        snapshot = await inspector.snapshot(pool)
        return snapshot.finished_total == len(requests)

    await wait_until(over, "every job has ended", within_s=200.0)
    for request, receipt in zip(requests, receipts, strict=True):
        job = await inspector.job(pool, receipt.job_id)
        if request.kind == "nap":
            assert job.state is JobState.SUCCEEDED, job
            continue
        assert (job.state, job.reason) == (JobState.FAILED, "poison"), job
        assert CULPRITS[request.kind][1] in job.error
        if request.kind == "end-the-process":
            assert f"last words of {job.job_id}" in job.error
    snapshot = await inspector.snapshot(pool)
    assert (snapshot.queued, snapshot.running, snapshot.quarantined, snapshot.dead) == (0, 0, 0, len(CULPRITS))


@pytest.mark.timeout(300)
async def test_a_job_that_blocks_the_event_loop_is_found_and_its_neighbours_lose_nothing(workers, redis, pool):
    """In a pool with one worker, the worker ends each time and restarts; the third time the blocker runs alone."""
    inspector, producer = Inspector(redis), Producer(redis, pool)
    await inspector.configure(pool, SETTINGS)
    blocker = await producer.submit(JobRequest(kind="block", payload=600))
    receipts = await producer.submit_many([JobRequest(kind="nap", payload=0.2, max_attempts=1) for _ in range(20)])
    workers.start(AGENTPOOL_BLOCK_WARN_SECONDS="0.5", AGENTPOOL_BLOCK_GIVE_UP_SECONDS="3")

    async def over():
        return (await inspector.snapshot(pool)).finished_total == len(receipts) + 1

    await wait_until(over, "every job has ended", within_s=200.0)
    job = await inspector.job(pool, blocker.job_id)
    assert (job.state, job.reason, job.losses) == (JobState.FAILED, "poison", 3)
    assert f"the handler of 'block' (job {job.job_id}, attempt 3)" in job.error
    neighbours = [await inspector.job(pool, receipt.job_id) for receipt in receipts]
    assert {(each.state, each.losses) for each in neighbours} == {(JobState.SUCCEEDED, 0)}


@pytest.mark.timeout(300)
async def test_a_job_that_slowly_outgrows_the_memory_is_found_and_its_neighbour_ends(workers, redis, pool):
    """Both jobs are requeued each time; alone, the long job finishes and the leaking job is poison."""
    inspector, producer = Inspector(redis), Producer(redis, pool)
    await inspector.configure(pool, SETTINGS)
    leak = await producer.submit(JobRequest(kind="use-up-memory", payload=2**19))
    steps = await producer.submit(JobRequest(kind="steps", payload=400))
    workers.start("--drain-seconds", "1", AGENTPOOL_MEMORY_LIMIT_BYTES=str(MEMORY_LIMIT))

    async def over():
        return (await inspector.snapshot(pool)).finished_total == 2

    await wait_until(over, "both jobs have ended", within_s=200.0)
    job = await inspector.job(pool, leak.job_id)
    assert (job.state, job.reason, job.losses) == (JobState.FAILED, "poison", 3)
    assert "ran out of memory" in job.error
    assert (await inspector.job(pool, steps.job_id)).state is JobState.SUCCEEDED
