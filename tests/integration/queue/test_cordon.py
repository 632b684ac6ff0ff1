"""Cordons on a real server.

A worker selected for removal takes no more jobs, and its running jobs are known for sure.
"""

from __future__ import annotations

import asyncio

from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer
from agentpool_core.queue.completions import Succeeded, Wake
from tests.fixtures.redis import wait_until

HOLD_MS = 60_000
ONE, TWO = WorkerId("w1"), WorkerId("w2")


async def worker_of(redis, pool, name):
    consumer = Consumer(redis, pool, name)
    await consumer.register(slots=5, host="here")
    return consumer


async def submit(redis, pool, count=1):
    return await Producer(redis, pool).submit_many([JobRequest(kind="k", payload=n) for n in range(count)])


async def test_a_cordoned_worker_claims_nothing_and_its_peers_continue(redis, pool):
    """A cordoned worker gets no job, even after a job of its own ends; a different worker gets all jobs."""
    first, second = await worker_of(redis, pool, ONE), await worker_of(redis, pool, TWO)
    await submit(redis, pool, 3)
    (held,) = await first.claim(1)
    assert await Inspector(redis).cordon(pool, [ONE], hold_ms=HOLD_MS) == [1]
    assert (await Inspector(redis).snapshot(pool)).cordoned == {ONE}
    _, leases = await first.exchange([Succeeded(job_id=held.job_id, token=held.token, result=None)], 5)
    assert leases == []
    assert await Inspector(redis).cordon(pool, [ONE], hold_ms=HOLD_MS) == [0]
    assert len(await second.claim(5)) == 2


async def test_a_released_worker_is_woken_and_claims_again(redis, pool):
    """An order announces the release to an idle worker, because a cordoned worker does not listen for the bell."""
    first = await worker_of(redis, pool, ONE)
    await Inspector(redis).cordon(pool, [ONE], hold_ms=HOLD_MS)
    assert await first.claim(5) == []
    await submit(redis, pool)
    waiting = asyncio.create_task(first.wait(10_000, for_work=False))
    await Inspector(redis).cordon(pool, [], hold_ms=HOLD_MS)
    assert await waiting == [Wake()]
    assert len(await first.claim(5)) == 1
    assert (await Inspector(redis).snapshot(pool)).cordoned == frozenset()


async def test_the_bell_wakes_no_cordoned_worker(redis, pool):
    """The bell for a job wakes a worker that may take the job, although a cordoned worker waited longer."""
    first, second = await worker_of(redis, pool, ONE), await worker_of(redis, pool, TWO)

    async def blocked():
        return (await redis.info("clients"))["blocked_clients"]

    assert await first.wait(10_000) == [Wake()]  # a new pool's bell has rung once
    ringing = asyncio.create_task(first.wait(10_000))  # waits for the bell before it is cordoned
    await wait_until(blocked, "the worker waits for the bell")
    await Inspector(redis).cordon(pool, [ONE], hold_ms=HOLD_MS)
    await submit(redis, pool)
    assert await ringing == [Wake()]
    assert await first.claim(5) == []
    assert await first.wait(10) == []
    assert await second.wait(10_000) == [Wake()]
    assert len(await second.claim(5)) == 1


async def test_a_cordon_precedes_the_registration_and_expires(redis, pool):
    """A starting worker takes no job under a cordon; without renewal the cordon ends, and the worker takes jobs."""
    await Inspector(redis).cordon(pool, [ONE], hold_ms=HOLD_MS)
    await submit(redis, pool)
    first = await worker_of(redis, pool, ONE)
    assert await first.claim(5) == []
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", HOLD_MS - 5_000)
    assert await first.claim(5) == []
    await first.renew(slots=5, running=0)
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", 5_001)
    await first.register(slots=5, host="here")
    assert len(await first.claim(5)) == 1


async def test_free_slots_of_cordoned_workers_do_not_hide_pressure(redis, pool):
    """A submit that only cordoned workers could take signals pressure."""
    await worker_of(redis, pool, ONE)
    await Inspector(redis).cordon(pool, [ONE], hold_ms=HOLD_MS)
    signals = Inspector(redis).pressure([pool.namespace])
    heard = asyncio.create_task(anext(signals))

    async def signalled():
        await submit(redis, pool)
        return heard.done()

    await wait_until(signalled, "the pressure is signalled")
    assert heard.result() == pool
    await signals.aclose()
