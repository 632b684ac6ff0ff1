"""Jobs of a kind that is unknown to a worker wait for a worker that knows the kind, and cost no attempt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.jobs import JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.completions import Failed, Returned, ReturnReason, SettleOutcome, Succeeded
from agentpool_core.queue.keys import Keys

SETTINGS = PoolSettings(unknown_kind_ms=60_000, lease_ms=3_600_000)


@pytest.fixture
async def ground(redis, pool):
    """A pool with an old worker, which knows `a` only, and a job of the new kind `b`."""
    await Inspector(redis).configure(pool, SETTINGS)
    old = await worker_of(redis, pool, "old", ["a"])
    receipt = await Producer(redis, pool).submit(JobRequest(kind="b", max_attempts=2))
    return old, receipt.job_id


async def worker_of(redis, pool, name: str, kinds: list[str] | None) -> Consumer:
    """Register a worker that takes these kinds."""
    worker = Consumer(redis, pool, WorkerId(name), kinds=kinds)
    await worker.register(slots=5, host="h")
    return worker


async def go_on(redis, pool, worker: Consumer, ms: int) -> None:
    """Advance the time, and make due jobs ready."""
    await redis.hincrby(Keys(pool).counters, "clock_offset_ms", ms)
    await worker.maintain()


async def meet(worker: Consumer) -> SettleOutcome | None:
    """Claim the job and requeue it as a job without a handler; return None if no job was ready."""
    leases = await worker.claim(5)
    if not leases:
        return None
    assert leases[0].attempt == 1
    returned = Returned(job_id=leases[0].job_id, token=leases[0].token, reason=ReturnReason.UNKNOWN_KIND, said="no")
    (outcome,) = await worker.settle([returned])
    return outcome


async def test_the_job_waits_a_while_and_no_attempt_counts(redis, pool, ground):
    """The job is scheduled, longer each time, so the worker does not claim the same job again and again."""
    old, job_id = ground
    waits = []
    for _ in range(6):
        assert await meet(old) is SettleOutcome.RETURNED
        job = await Inspector(redis).job(pool, job_id)
        assert (job.state, job.attempt, job.reason) == (JobState.SCHEDULED, 0, "unknown_kind")
        assert await meet(old) is None
        waits.append(job.due_at_ms - (await Inspector(redis).snapshot(pool)).taken_at_ms)
        await go_on(redis, pool, old, 8_001)
    assert waits[-1] > waits[0]
    assert waits[-1] <= 8_000


async def test_a_worker_that_knows_the_kind_gets_it(redis, pool, ground):
    """While such a worker lives, the job never fails, however often an old worker claims the job."""
    old, job_id = ground
    new = await worker_of(redis, pool, "new", ["a", "b"])
    for _ in range(5):
        assert await meet(old) is SettleOutcome.RETURNED
        await go_on(redis, pool, old, 100_000)
    (lease,) = await new.claim(5)
    assert (lease.job_id, lease.attempt) == (job_id, 1)
    await new.settle([Succeeded(job_id=job_id, token=lease.token)])


@pytest.mark.parametrize("kinds", [["b"], None])
async def test_an_unknown_kind_fails_after_the_pools_time(redis, pool, ground, kinds):
    """The time counts from the end of the last worker that knew the kind; the error lists the known kinds."""
    old, job_id = ground
    new = await worker_of(redis, pool, "new", kinds)
    assert await meet(old) is SettleOutcome.RETURNED
    await go_on(redis, pool, old, 100_000)
    assert await meet(old) is SettleOutcome.RETURNED
    await new.deregister()
    await go_on(redis, pool, old, 50_000)
    assert await meet(old) is SettleOutcome.RETURNED
    await go_on(redis, pool, old, 40_000)
    assert await meet(old) is SettleOutcome.DEAD
    job = await Inspector(redis).job(pool, job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "unknown_kind")
    assert job.error == "no worker of the pool has known the kind b for 60 s; its workers know: a"


async def test_an_earlier_wait_does_not_count_for_a_later_attempt(redis, pool, ground):
    """After a worker has run an attempt, the time starts again."""
    old, job_id = ground
    assert await meet(old) is SettleOutcome.RETURNED
    await go_on(redis, pool, old, 30_000)
    (lease,) = await old.claim(5)
    await old.settle([Failed(job_id=job_id, token=lease.token, error="e", retry_after_ms=0)])
    await go_on(redis, pool, old, 100_000)
    (lease,) = await old.claim(5)
    returned = Returned(job_id=job_id, token=lease.token, reason=ReturnReason.UNKNOWN_KIND)
    assert await old.settle([returned]) == [SettleOutcome.RETURNED]


async def test_other_jobs_are_not_held_back(redis, pool, ground):
    """A job that waits for its worker blocks no other job."""
    old, _ = ground
    assert await meet(old) is SettleOutcome.RETURNED
    behind = await Producer(redis, pool).submit(JobRequest(kind="a"))
    assert [lease.job_id for lease in await old.claim(5)] == [behind.job_id]


async def test_the_pools_time_may_be_zero(redis, pool, ground):
    """A pool without patience restores the former behaviour: the job fails at once."""
    old, job_id = ground
    await Inspector(redis).configure(pool, replace(SETTINGS, unknown_kind_ms=0))
    assert await meet(old) is SettleOutcome.DEAD
    assert (await Inspector(redis).job(pool, job_id)).reason == "unknown_kind"
