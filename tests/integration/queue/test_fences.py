"""A worker that has lost a job can write nothing for that job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.errors import StaleLeaseError
from agentpool_core.jobs import JobRequest, Step, StepOutcome, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer
from agentpool_core.queue.completions import Failed, Returned, ReturnReason


def step(number: int, name: str, **fields: object) -> Step:
    """Return a finished step with default values for the fields that a test does not set."""
    values = {"outcome": StepOutcome.SUCCEEDED, "attempt": 1, "started_at_ms": 1_000, "duration_ms": 5, **fields}
    return Step(number=number, name=name, **values)


async def test_steps_are_read_back_as_they_were_written(redis, pool):
    """More steps than one command reads, with names and results of any text; an unreadable step is left out."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x"))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    (lease,) = await consumer.claim(1)
    odd = step(1, "ein Schritt mit ü, '|' und \u2028", after="b c", sequential=True, result={"a": [1.5, None, "\n"]})
    failed = step(2, "two", outcome=StepOutcome.FAILED, result="ValueError: x")
    many = [step(number, f"call#{number}", result=number) for number in range(3, 500)]
    await consumer.record_steps(lease, [odd, failed])
    await consumer.record_steps(lease, many)
    await consumer.record_steps(lease, many)  # its answer was lost
    assert await consumer.steps(lease) == [odd, failed, *many]
    key = f"ap:{{{pool}}}:job:{receipt.job_id}"
    await redis.hset(key, mapping={"step:2": "nonsense", "out:3": "{"})
    await redis.hdel(key, "step:4")
    assert await consumer.steps(lease) == [odd, *many[2:]]
    assert len((await Inspector(redis).job(pool, receipt.job_id)).steps) == 497


async def test_a_step_that_is_written_again_hides_no_later_step(redis, pool):
    """A wait ends, or a failed step runs again, after steps with higher numbers."""
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    (lease,) = await consumer.claim(1)
    begun, later = step(1, "~wait:go", outcome=StepOutcome.WAITING), step(2, "later", result="kept")
    await consumer.record_steps(lease, [begun])
    await consumer.record_steps(lease, [later])
    ended = replace(begun, outcome=StepOutcome.SUCCEEDED)
    await consumer.record_steps(lease, [ended])
    assert await consumer.steps(lease) == [ended, later]


async def test_a_superseded_lease_saves_nothing(redis, pool):
    """The old holder's checkpoint and progress are refused, and the new holder's stay."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x"))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    (old,) = await consumer.claim(1)
    await consumer.checkpoint(old, {"step": 1})
    await consumer.settle([Returned(job_id=old.job_id, token=old.token, reason=ReturnReason.DRAIN)])
    (new,) = await consumer.claim(1)
    await consumer.checkpoint(new, {"step": 2})
    await consumer.progress(new, "half")
    mine, foreign = step(1, "mine", result="new"), step(1, "foreign", result="old")
    await consumer.record_steps(new, [mine])
    for write, value in (
        (consumer.checkpoint, {"step": 0}),
        (consumer.progress, {"step": 0}),
        (consumer.record_steps, [foreign]),
    ):
        with pytest.raises(StaleLeaseError):
            await write(old, value)
    job = await Inspector(redis).job(pool, receipt.job_id)
    assert (job.checkpoint, job.progress) == ({"step": 2}, "half")
    assert await consumer.steps(new) == [mine]
    assert job.steps == (replace(mine, result=None),)


async def test_a_worker_with_an_expired_lease_gets_nothing(redis, pool):
    """The queue refuses the claim before any process has noticed the silence: the worker has to register again."""
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", 60_000)
    assert await consumer.claim(1) == []
    assert (await consumer.wait_and_claim(1, 1))[1] == []
    await consumer.register(slots=2, host="h")
    assert len(await consumer.claim(1)) == 1


async def test_a_lost_worker_costs_an_attempt(redis, pool):
    """The attempt of a silent worker counts, but is never the last: a different job may have ended the worker."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x", max_attempts=3))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    assert len(await consumer.claim(1)) == 1
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", 60_000)
    assert (await consumer.maintain()).recovered == 1
    job = await Inspector(redis).job(pool, receipt.job_id)
    assert (job.state, job.attempt, job.losses) == ("queued", 1, 1)


async def test_a_cancelled_job_that_fails_is_not_tried_again(redis, pool):
    """The cancel came during the run: the failed attempt ends the job as cancelled."""
    producer = Producer(redis, pool)
    receipt = await producer.submit(JobRequest(kind="x", max_attempts=3))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    (lease,) = await consumer.claim(1)
    await producer.cancel(receipt.job_id)
    assert await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="no")]) == ["cancelled"]
    assert (await Inspector(redis).job(pool, receipt.job_id)).state == "cancelled"
