"""Jobs that end their workers, among innocent ones: each culprit is found, and nobody else loses anything for good."""

from __future__ import annotations

import pytest

from agentpool.jobs import JobRequest, JobState
from agentpool.queue import Inspector, PoolSettings, Producer
from tests.fixtures.redis import wait_until

SETTINGS = PoolSettings(concurrency=8, retry_initial_ms=20, retry_max_ms=50, lease_ms=10_000)
INNOCENT = 50
MEMORY_LIMIT = 220 * 2**20
CULPRITS = {  # kind: payload, what the dead letter says
    "end-the-process": (3, "exit code 3"),
    "segfault": (None, "SIGSEGV"),
    "use-up-memory": (2**21, "ran out of memory"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [1, 2])
async def test_poison_jobs_are_found_among_innocent_ones(workers, redis, pool, count):
    """With one worker or two: every innocent job succeeds, even with one attempt; the three others say how."""
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
