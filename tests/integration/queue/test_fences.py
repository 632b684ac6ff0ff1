"""What a worker that has lost a job may still write of it: nothing."""

from __future__ import annotations

import pytest

from agentpool_core.errors import StaleLeaseError
from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer
from agentpool_core.queue.completions import Failed, Returned, ReturnReason


async def test_a_lease_that_has_passed_on_saves_nothing(redis, pool):
    """The old holder's checkpoint and progress are refused, and the new holder's stay as they are."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x"))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    (old,) = await consumer.claim(1)
    await consumer.checkpoint(old, {"step": 1})
    await consumer.settle([Returned(job_id=old.job_id, token=old.token, reason=ReturnReason.DRAIN)])
    (new,) = await consumer.claim(1)
    await consumer.checkpoint(new, {"step": 2})
    await consumer.progress(new, "half")
    for write in (consumer.checkpoint, consumer.progress):
        with pytest.raises(StaleLeaseError):
            await write(old, {"step": 0})
    job = await Inspector(redis).job(pool, receipt.job_id)
    assert (job.checkpoint, job.progress) == ({"step": 2}, "half")


async def test_a_worker_whose_lease_has_run_out_gets_nothing(redis, pool):
    """Before anybody has noticed its silence, a claim is refused: it has to register again."""
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", 60_000)
    assert await consumer.claim(1) == []
    assert (await consumer.wait_and_claim(1, 1))[1] == []
    await consumer.register(slots=2, host="h")
    assert len(await consumer.claim(1)) == 1


async def test_a_lost_worker_costs_an_attempt(redis, pool):
    """The attempt of a worker that falls silent counts, but it is never the last: others may have ended the worker."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x", max_attempts=3))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    assert len(await consumer.claim(1)) == 1
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", 60_000)
    assert (await consumer.maintain()).recovered == 1
    job = await Inspector(redis).job(pool, receipt.job_id)
    assert (job.state, job.attempt, job.losses) == ("queued", 1, 1)


async def test_a_cancelled_job_that_fails_is_not_tried_again(redis, pool):
    """Cancel was asked for while it ran: the failure of its attempt is its end, and the end is cancelled."""
    producer = Producer(redis, pool)
    receipt = await producer.submit(JobRequest(kind="x", max_attempts=3))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    (lease,) = await consumer.claim(1)
    await producer.cancel(receipt.job_id)
    assert await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="no")]) == ["cancelled"]
    assert (await Inspector(redis).job(pool, receipt.job_id)).state == "cancelled"
