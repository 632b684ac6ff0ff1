"""Orders and jobs that arrive in one answer: a failure on the way of one part loses neither part."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.errors import QueueUnreachableError
from agentpool_core.jobs import JobId, JobRequest, JobState, LeaseToken, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer, orders, scripts
from agentpool_core.queue.completions import CancelJob, Wake

ORDERS = [CancelJob(job_id=JobId(name), token=LeaseToken(1)) for name in ("a", "b")]


@pytest.fixture
async def consumer(redis, pool):
    """A registered worker with two pending orders."""
    made = Consumer(redis, pool, WorkerId("w1"))
    await made.register(slots=5, host="here")
    await redis.rpush(f"ap:{{{pool}}}:ctl:w1", "cancel 1 a", "cancel 1 b")
    await redis.expire(f"ap:{{{pool}}}:ctl:w1", 60)
    yield made
    await made.deregister()


@pytest.fixture
def break_reading(monkeypatch):
    """Break the read of the orders behind the first, by an error or until a cancellation."""

    def breaking(*, hang=False):
        async def broken(_redis, *command):
            assert command[0] == "LRANGE"
            if hang:
                await asyncio.get_running_loop().create_future()
            raise QueueUnreachableError("gone")

        monkeypatch.setattr(orders, "ask", broken)

    return breaking


async def test_a_taken_order_is_reported_though_the_rest_is_unreadable(consumer, break_reading, monkeypatch):
    """The first order has left its list, so this answer must report that order.

    The next read gets the remaining orders.
    """
    break_reading()
    assert await consumer.wait(1_000, for_work=False) == ORDERS[:1]
    monkeypatch.undo()
    assert await consumer.wait(1_000, for_work=False) == ORDERS[1:]


async def test_a_job_beside_an_order_is_reported_though_the_rest_is_unreadable(redis, pool, consumer, break_reading):
    """The lease was given, so the job starts."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="k"))
    break_reading()
    controls, leases = await consumer.wait_and_claim(1_000, 1)
    assert controls == ORDERS[:1]
    assert [lease.job_id for lease in leases] == [receipt.job_id]


async def test_a_job_beside_an_order_is_requeued_if_the_wait_is_cancelled(
    redis, pool, consumer, break_reading, monkeypatch
):
    """No caller received the lease, so the job is requeued, and no attempt counts."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="k"))
    await redis.script_load(scripts.CLAIM_PLAIN.source)  # sent behind the wait by its digest alone
    break_reading(hang=True)
    waiting = asyncio.create_task(consumer.wait_and_claim(1_000, 1))
    inspector = Inspector(redis)
    async with asyncio.timeout(10):
        while (await inspector.job(pool, receipt.job_id)).state is not JobState.RUNNING:
            await asyncio.wait([waiting], timeout=0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    monkeypatch.undo()
    await consumer.deregister()
    job = await inspector.job(pool, receipt.job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)


async def test_a_claim_executed_while_the_worker_leaves_counts_no_attempt(redis, pool, monkeypatch):
    """The server executes the claim behind a cancelled wait between any two calls of the leaving worker."""
    await Producer(redis, pool).submit(JobRequest(kind="k"))
    leaving = Consumer(redis, pool, WorkerId("w1"))
    await leaving.register(slots=5, host="here")
    assert await leaving.wait(1_000) == [Wake()]
    (begun,) = await leaving.claim(1)
    waiting = asyncio.create_task(leaving.wait_and_claim(10_000, 1))
    await asyncio.wait([waiting], timeout=0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    late = await Producer(redis, pool).submit(JobRequest(kind="k"))
    run, claimed = scripts.Script.run, []

    async def after_a_claim(script, *args):
        claimed.append((await run(scripts.CLAIM, redis, f"ap:{{{pool}}}:conf", (leaving.worker, 1)))[5])
        return await run(script, *args)

    with monkeypatch.context() as patch:
        patch.setattr(scripts.Script, "run", after_a_claim)
        await leaving.deregister()
    assert set(claimed) == {late.job_id}
    inspector = Inspector(redis)
    jobs = [await inspector.job(pool, job_id) for job_id in (begun.job_id, late.job_id)]
    assert [(job.state, job.attempt) for job in jobs] == [(JobState.QUEUED, 1), (JobState.QUEUED, 0)]
    assert (await inspector.snapshot(pool)).workers == ()


async def test_orders_are_reported_though_the_claim_behind_them_fails(consumer, monkeypatch):
    """A claim can be repeated; an order arrives once."""

    async def unreachable(*_):
        raise QueueUnreachableError("gone")

    monkeypatch.setattr(consumer, "_claim_after_wait", unreachable)
    assert await consumer.wait_and_claim(1_000, 1) == (ORDERS, [])
    with pytest.raises(QueueUnreachableError):
        await consumer.wait_and_claim(10, 1)


async def test_jobs_held_before_a_new_registration_are_requeued(redis, pool, consumer):
    """A restarted worker knows of no job, so the queue requeues the jobs that its name held."""
    await Producer(redis, pool).submit(JobRequest(kind="k"))
    (lease,) = await consumer.claim(1)
    await consumer.register(slots=5, host="here")
    (again,) = await consumer.claim(1)
    assert (again.job_id, again.attempt, again.token) == (lease.job_id, 1, 2)


async def test_leaving_after_a_new_registration_counts_the_attempt_of_a_dead_namesake(redis, pool, consumer):
    """A job that kills its worker must not start for ever: such a requeue counts as a loss."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="k"))
    await consumer.claim(1)
    namesake = Consumer(redis, pool, consumer.worker)
    await namesake.register(slots=5, host="here")
    await namesake.deregister()
    await namesake.register(slots=5, host="here")
    (again,) = await namesake.claim(1)
    assert (again.job_id, again.attempt) == (receipt.job_id, 2)
