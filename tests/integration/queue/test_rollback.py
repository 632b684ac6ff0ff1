"""Redis returns to an earlier state under a queue: the queue and the workers agree again on the running jobs."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from agentpool_core.jobs import JobId, JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, Route
from agentpool_core.queue.completions import Failed, SettleOutcome, Succeeded
from tests.fixtures.rollback import go_back, remember


async def worker_of(redis, pool, name="w1") -> Consumer:
    consumer = Consumer(redis, pool, WorkerId(name))
    consumer.found = []
    consumer.reconciled = consumer.found.append
    await consumer.register(slots=10, host="here")
    await consumer.claim(0)
    return consumer


async def state_of(redis, pool, job_id) -> JobState:
    return (await Inspector(redis).job(pool, job_id)).state


async def counters_of(redis, pool) -> dict[str, str]:
    counters = await redis.hgetall(f"ap:{{{pool}}}:counters")
    return {
        name: value
        for name, value in counters.items()
        if (name[0] in "qyurt" and name[1:2] == ":") or name in {"queued", "running", "slots"}
    }


async def test_a_job_that_the_worker_had_ended_is_requeued(redis, redis_url, pool):
    """The end of a job is lost: the queue holds the job for a worker that does not run it, and offers the job again."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="k"))
    consumer = await worker_of(redis, pool)
    (lease,) = await consumer.claim(1)
    earlier = await remember(redis_url, pool)
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    await go_back(redis_url, earlier)
    renewal = await consumer.renew(slots=10, running=0)
    assert [place.entry for place in renewal.held] == [lease.entry]
    consumer.compare_holdings()
    (again,) = await consumer.claim(1)
    assert (again.job_id, again.attempt) == (receipt.job_id, 1)
    assert consumer.found[0].returned == 1


async def test_a_job_with_a_lost_claim_is_disowned(redis, redis_url, pool):
    """The claim is lost: the queue offers the job to all workers, and orders the holder to stop the job."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="k"))
    consumer = await worker_of(redis, pool)
    earlier = await remember(redis_url, pool)
    (lease,) = await consumer.claim(1)
    await go_back(redis_url, earlier)
    assert (await consumer.renew(slots=10, running=1)).held == frozenset()
    consumer.compare_holdings()
    assert await consumer.claim(0) == []
    assert consumer.found[0].disowned == ((lease.job_id, lease.token),)
    assert consumer.holdings() == {}
    assert await state_of(redis, pool, receipt.job_id) == "queued"


@pytest.mark.parametrize("end", [Succeeded, lambda **ids: Failed(**ids, error="no")])
async def test_a_token_of_two_workers_counts_for_the_holder_in_the_queue(redis, redis_url, pool, end):
    """After the rollback, the next claim repeats the number of the lost claim; the lost holder changes nothing."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="k"))
    first, second = await worker_of(redis, pool, "w1"), await worker_of(redis, pool, "w2")
    earlier = await remember(redis_url, pool)
    (lost,) = await first.claim(1)
    await go_back(redis_url, earlier)
    (valid,) = await second.claim(1)
    assert (valid.job_id, valid.token) == (lost.job_id, lost.token)
    assert await first.settle([end(job_id=lost.job_id, token=lost.token)]) == [SettleOutcome.STALE]
    assert await state_of(redis, pool, receipt.job_id) == "running"
    assert await second.settle([Succeeded(job_id=valid.job_id, token=valid.token)]) == [SettleOutcome.APPLIED]


async def test_a_job_that_is_claimed_again_by_its_own_worker_is_disowned_first(redis, redis_url, pool):
    """A worker gets a job that it already runs, before any check: the earlier attempt is the one that stops."""
    await Producer(redis, pool).submit(JobRequest(kind="k"))
    consumer = await worker_of(redis, pool)
    earlier = await remember(redis_url, pool)
    (lost,) = await consumer.claim(1)
    await go_back(redis_url, earlier)
    (again,) = await consumer.claim(1)
    assert again.job_id == lost.job_id
    assert consumer.found[0].disowned == ((lost.job_id, lost.token),)


async def test_an_entry_without_a_job_releases_its_slot(redis, pool):
    """The record of a running job is evicted: after the end of the attempt, its route has a free slot again."""
    route = Route(name="code", kinds=("k",), max_running=1)
    await Inspector(redis).configure(pool, PoolSettings(routes=(route,)))
    producer = Producer(redis, pool)
    first, second = await producer.submit_many([JobRequest(kind="k")] * 2)
    consumer = await worker_of(redis, pool)
    (lease,) = await consumer.claim(2)
    await redis.delete(f"ap:{{{pool}}}:job:{first.job_id}")
    assert await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)]) == [SettleOutcome.STALE]
    assert await consumer.claim(1) == []
    consumer.compare_holdings()
    (next_one,) = await consumer.claim(1)
    assert next_one.job_id == second.job_id
    assert (consumer.found[0].dropped, consumer.found[0].corrected > 0) == (1, True)


async def test_counters_are_counted_again_when_they_are_wrong(redis, pool):
    """Maintenance sets wrong counters to the state of the streams and the leases."""
    producer = Producer(redis, pool)
    receipts = await producer.submit_many([JobRequest(kind="k")] * 9)
    consumer = await worker_of(redis, pool)
    leases = await consumer.claim(4)
    await consumer.settle([Failed(job_id=leases[0].job_id, token=leases[0].token, error="no")])
    await producer.cancel(JobId(receipts[6].job_id))
    right = await counters_of(redis, pool)
    wrong = {name: int(value) + 3 for name, value in right.items()} | {"r:gone": 2, "q:gone:task": 1}
    await redis.hset(f"ap:{{{pool}}}:counters", mapping=wrong)
    await redis.hset(f"ap:{{{pool}}}:counters", "audit_at", 0)
    assert {one.what for one in (await consumer.maintain()).resolved} == set(wrong)
    found = await counters_of(redis, pool)
    assert {name: value for name, value in found.items() if value != "0"} == {
        name: value for name, value in right.items() if value != "0"
    }


async def test_lost_counters_are_restored(redis, pool):
    """Without its counters a pool knows neither its streams nor its jobs; maintenance restores both."""
    producer = Producer(redis, pool)
    await producer.submit_many([JobRequest(kind="k")] * 5)
    consumer = await worker_of(redis, pool)
    await consumer.claim(2)
    right = await counters_of(redis, pool)
    await redis.delete(f"ap:{{{pool}}}:counters")
    await consumer.maintain()
    assert await counters_of(redis, pool) == right
    assert len(await consumer.claim(5)) == 3
    assert (await producer.submit(JobRequest(kind="k"))).state == "queued"


async def test_a_lost_stream_is_created_again(redis, pool):
    """The jobs of the lost stream are gone; new jobs can be submitted and claimed."""
    producer = Producer(redis, pool)
    await producer.submit(JobRequest(kind="k"))
    consumer = await worker_of(redis, pool)
    await redis.delete(f"ap:{{{pool}}}:s:default:task")
    await consumer.maintain()
    assert await consumer.claim(1) == []
    receipt = await producer.submit(JobRequest(kind="k"))
    assert [lease.job_id for lease in await consumer.claim(1)] == [receipt.job_id]


FUTURE = "9999999999999-0"  # a place of a Redis with a clock that was ahead


@pytest.mark.parametrize("after", [FUTURE, f"{FUTURE}.3"])
async def test_a_reader_does_not_wait_for_a_future_place(redis, pool, after):
    """After a rollback of Redis and its clock, a reader continues from the newest event."""
    inspector, producer = Inspector(redis), Producer(redis, pool)
    assert await inspector.events(pool, after=after) == []
    await producer.submit(JobRequest(kind="k"))
    old = await producer.submit(JobRequest(kind="k"))
    newest = await inspector.events(pool, after=after)
    assert [event.job_id for event in newest] == [old.job_id]
    assert await inspector.events(pool, after=newest[-1].id) == []
    async with contextlib.aclosing(inspector.follow(pool, after=after)) as following:
        reading = asyncio.ensure_future(anext(following))
        submitted: set[str] = set()
        while not reading.done():  # the reader may have missed the first
            submitted.add((await producer.submit(JobRequest(kind="k"))).job_id)
            await asyncio.sleep(0)
        assert (await reading).job_id in submitted


async def test_a_reader_continues_after_a_past_place(redis, pool):
    """The id of a lost event, or of a moment without events, is a past place: no event comes twice."""
    inspector = Inspector(redis)
    await Producer(redis, pool).submit(JobRequest(kind="k"))
    seconds, _ = await redis.time()
    assert await inspector.events(pool, after=f"{seconds * 1000 + 999}-5") == []
