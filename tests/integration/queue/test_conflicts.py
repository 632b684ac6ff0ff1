"""Idempotency keys whose earlier job has not ended: kept, replaced, or cancelled, against a real server."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.errors import IdempotencyConflictError, InvalidJobError
from agentpool_core.jobs import JobId, JobRequest, JobState, OnConflict
from agentpool_core.queue import Inspector, Producer
from agentpool_core.queue.completions import Cancelled, Succeeded
from agentpool_core.queue.keys import Keys


@pytest.fixture
def submit(redis, pool):
    """Submit a job of the key `k`."""

    async def submit(payload, on_conflict=OnConflict.REFUSE, **request):
        job = JobRequest(kind="x", payload=payload, idempotency_key="k", on_conflict=on_conflict, **request)
        return await Producer(redis, pool).submit(job)

    return submit


@pytest.fixture
def state(redis, pool):
    async def state(receipt):
        job = await Inspector(redis).job(pool, receipt.job_id)
        return job.state.value, job.reason, job.cancel_requested

    return state


def end(lease):
    return Succeeded(job_id=lease.job_id, token=lease.token)


async def test_keep_returns_the_earlier_job_until_it_has_ended(consumer, submit):
    """A different body is no conflict; after the end the key is free."""
    first = await submit(1)
    kept = await submit(2, OnConflict.KEEP)
    assert (kept.job_id, kept.duplicate) == (first.job_id, True)
    (lease,) = await consumer.claim(5)
    assert (await submit(3, OnConflict.KEEP)).job_id == first.job_id
    await consumer.settle([end(lease)])
    second = await submit(4, OnConflict.KEEP)
    assert (second.duplicate, second.state) == (False, JobState.QUEUED)
    assert (await submit(4)).job_id == second.job_id


async def test_replace_cancels_a_job_that_has_not_started(consumer, submit, state):
    """The newest body runs, once; a job that has started goes on, and no longer has the key."""
    first, second = await submit(1), await submit(2, OnConflict.REPLACE)
    assert await state(first) == ("cancelled", f"replaced by job {second.job_id}", False)
    (lease,) = await consumer.claim(5)
    assert lease.payload == 2
    third = await submit(3, OnConflict.REPLACE)
    assert await state(second) == ("running", None, False)
    await consumer.settle([end(lease)])
    assert (await submit(3)).job_id == third.job_id
    (lease,) = await consumer.claim(5)
    assert lease.payload == 3


async def test_cancel_running_stops_the_earlier_job(redis, pool, consumer, submit, state):
    """The worker of the earlier job gets the order; the end of that job does not touch the key of the new job."""
    first = await submit(1)
    (lease,) = await consumer.claim(5)
    second = await submit(2, OnConflict.CANCEL_RUNNING)
    assert await state(first) == ("running", None, True)
    assert [order.job_id for order in await consumer.wait(1, for_work=False)] == [first.job_id]
    await consumer.settle([Cancelled(job_id=lease.job_id, token=lease.token)])
    assert (await state(first))[:2] == ("cancelled", f"replaced by job {second.job_id}")
    assert (await submit(2)).job_id == second.job_id
    assert await redis.ttl(Keys(pool).idempotency("k")) == -1


async def test_a_repeated_call_replaces_nothing(redis, pool, submit, state):
    """After a lost answer the same job is submitted again: it does not replace itself, nor its successor."""
    named = {"job_id": JobId("a")}
    await submit(1, OnConflict.REPLACE, **named)
    assert (await submit(1, OnConflict.REPLACE, **named)).duplicate
    successor = await submit(2, OnConflict.REPLACE)
    assert (await submit(1, OnConflict.REPLACE, **named)).duplicate
    assert (await state(successor))[0] == "queued"


async def test_jobs_of_one_call_replace_each_other(redis, pool, consumer):
    """Jobs of a single call have the outcomes of separate calls in the same order."""

    def jobs(on_conflict):
        requests = [JobRequest(kind="x", payload=n, idempotency_key="k", on_conflict=on_conflict) for n in range(3)]
        return Producer(redis, pool).submit_many(requests)

    replaced = await jobs(OnConflict.REPLACE)
    kept = await jobs(OnConflict.KEEP)
    assert [receipt.duplicate for receipt in replaced] == [False] * 3
    assert {receipt.job_id for receipt in kept} == {replaced[-1].job_id}
    assert [lease.payload for lease in await consumer.claim(5)] == [2]


async def test_a_delay_makes_a_debounce_and_a_throttle(redis, pool, consumer, submit, state):
    """Replaced while it waits, a job starts after a pause of calls; kept, once in each period."""
    first, second = await asyncio.gather(*(submit(n, OnConflict.REPLACE, delay_ms=60_000) for n in range(2)))
    assert sorted([(await state(first))[0], (await state(second))[0]]) == ["cancelled", "scheduled"]
    kept = await submit(9, OnConflict.KEEP, delay_ms=60_000)
    assert kept.duplicate
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", 60_000)
    await consumer.register(slots=5, host="h")  # the lease has ended meanwhile
    await consumer.maintain()
    (lease,) = await consumer.claim(5)
    assert lease.job_id == kept.job_id


async def test_a_conflict_needs_a_key_and_is_refused_by_default(redis, pool, submit):
    """The error names the field and the remedy."""
    with pytest.raises(InvalidJobError, match="on_conflict: 'keep': the job has no idempotency_key"):
        await Producer(redis, pool).submit(JobRequest(kind="x", on_conflict=OnConflict.KEEP))
    await submit(1)
    with pytest.raises(IdempotencyConflictError):
        await submit(2)
