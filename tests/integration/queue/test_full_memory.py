"""A Redis with full memory: no new job enters, and every operation that releases memory works."""

from __future__ import annotations

import contextlib
import shutil

import pytest
from redis.exceptions import OutOfMemoryError

from agentpool_core.client import Client
from agentpool_core.errors import QueueMemoryError
from agentpool_core.jobs import JobRequest, JobState, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, connect
from agentpool_core.queue.completions import Failed, Returned, ReturnReason, SettleOutcome, Succeeded
from tests.fixtures.redis import server_binary

POOL = PoolRef("test", "full")
BINARIES = sorted({server_binary(), *filter(None, [shutil.which("redis-server")])})


@pytest.fixture(params=BINARIES)
async def full(request, redis_server_factory):
    """A client of a server that jobs and unrelated data have filled, before the first worker."""
    server = redis_server_factory("--maxmemory-policy", "noeviction", binary=request.param)
    client = connect(server.tcp_url)
    await Inspector(client).configure(POOL, PoolSettings())
    await Producer(client, POOL).submit_many([JobRequest(kind="x", payload="x" * 1_000)] * 200)
    await client.config_set("maxmemory", (await client.info("memory"))["used_memory"] + 4_000_000)
    with contextlib.suppress(OutOfMemoryError):
        while True:
            await client.rpush("filling", "x" * 10_000)
    await client.config_set("maxmemory", (await client.info("memory"))["used_memory"] - 1_000_000)  # stays full
    with pytest.raises(QueueMemoryError, match="raise maxmemory"):
        await Producer(client, POOL).submit(JobRequest(kind="x"))
    yield client
    await client.aclose()


async def test_a_full_queue_without_workers_is_drained(full):
    """A worker registers, claims in every way, renews, requeues, settles, maintains and leaves; the queue is empty."""
    consumer = Consumer(full, POOL, WorkerId("w"))
    await consumer.register(slots=100, host="h")
    _, first = await consumer.wait_and_claim(1_000, 10)
    assert (await consumer.renew(slots=100, running=10)).still_registered
    returned = [Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.DRAIN) for lease in first[1:]]
    await consumer.settle(returned)
    consumer.forget()  # the answer was lost: the queue requeues the job
    ended = 0
    while leases := await consumer.claim(100):
        done = [Succeeded(job_id=lease.job_id, token=lease.token, result="y") for lease in leases]
        outcomes, more = await consumer.exchange(done, 0)
        ended += outcomes.count(SettleOutcome.APPLIED)
        assert more == []
        await consumer.maintain()
    assert ended == 200
    assert await Inspector(full).cordon(POOL, [WorkerId("w")], hold_ms=1_000) == [0]
    await consumer.deregister()
    assert (await Inspector(full).snapshot(POOL)).queued == 0


async def test_dead_letters_can_be_removed_and_results_read(full):
    """A wait for a result works although Redis stores no mark for the wait; purged dead letters release memory."""
    consumer = Consumer(full, POOL, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    good, bad = await consumer.claim(2)
    await consumer.settle(
        [
            Succeeded(job_id=good.job_id, token=good.token, result="y"),
            Failed(job_id=bad.job_id, token=bad.token, error="no", retry=False),
        ]
    )
    async with Client(full, pool=POOL) as client:
        assert await client.result(good.job_id, timeout=10) == "y"
        assert [job.job_id for job in await client.jobs(JobState.FAILED)] == [bad.job_id]
    assert await Inspector(full).discard(POOL) == 1
