"""The output of a job: stored once, in order, under the lease; readable from any place until the end of the job."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.client import Client
from agentpool_core.errors import PayloadTooLargeError, StaleLeaseError, UnknownJobError
from agentpool_core.jobs import JobId, JobRequest
from agentpool_core.queue import Inspector, Producer
from agentpool_core.queue.chunks import encode_chunk
from agentpool_core.queue.completions import Failed, Returned, ReturnReason, Succeeded


@pytest.fixture
def claim(redis, pool, consumer):
    async def claim(**request):
        await Producer(redis, pool).submit(JobRequest(kind="x", **request))
        (lease,) = await consumer.claim(1)
        return lease

    return claim


def read(redis, pool, job_id, after="0"):
    """Read all chunks until the end of the job, as run, attempt, number and value."""

    async def read():
        chunks = Inspector(redis).chunks(pool, job_id, after=after)
        return [(chunk.run, chunk.attempt, chunk.number, chunk.value) async for chunk in chunks]

    return asyncio.create_task(read())


async def test_chunks_reach_a_reader_in_order_until_the_job_ends(redis, pool, consumer, claim):
    """An early reader, a late reader, and a reader that continues after any chunk receive the same chunks."""
    lease = await claim()
    first = read(redis, pool, lease.job_id)
    await consumer.emit(lease, 1, ['"Hel"', '"lo"'])
    await consumer.emit(lease, 3, ['{"tool":"search"}'])
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    chunks = [(1, 1, 1, "Hel"), (1, 1, 2, "lo"), (1, 1, 3, {"tool": "search"})]
    assert await first == chunks
    assert await read(redis, pool, lease.job_id) == chunks
    ids = [chunk.id async for chunk in Client(redis, pool=pool).stream(lease.job_id)]
    assert await read(redis, pool, lease.job_id, after=ids[1]) == chunks[2:]
    assert await read(redis, pool, lease.job_id, after=ids[2]) == []


async def test_a_repeated_call_stores_each_chunk_once(redis, pool, consumer, claim):
    """The answer was lost; some or none of the chunks are new."""
    lease = await claim()
    await consumer.emit(lease, 1, ["1", "2"])
    await consumer.emit(lease, 1, ["1", "2"])
    await consumer.emit(lease, 2, ["2", "3"])
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    assert [chunk[3] for chunk in await read(redis, pool, lease.job_id)] == [1, 2, 3]


async def test_a_later_run_has_a_larger_run_number(redis, pool, consumer, claim):
    """The run number grows even if the attempt does not count; the former holder stores no more chunks."""
    old = await claim()
    await consumer.emit(old, 1, ['"a"'])
    await consumer.settle([Returned(job_id=old.job_id, token=old.token, reason=ReturnReason.DRAIN)])
    (new,) = await consumer.claim(1)
    with pytest.raises(StaleLeaseError):
        await consumer.emit(old, 2, ['"b"'])
    await consumer.emit(new, 1, ['"a"'])
    await consumer.settle([Succeeded(job_id=new.job_id, token=new.token)])
    assert await read(redis, pool, old.job_id) == [(1, 1, 1, "a"), (2, 1, 1, "a")]


async def test_the_output_of_a_replayed_job_continues(redis, pool, consumer, claim):
    """A reader continues past the first end, because the job has not ended for good."""
    lease = await claim(max_attempts=1)
    await consumer.emit(lease, 1, ["1"])
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="no")])
    await Inspector(redis).replay(pool, lease.job_id)
    (again,) = await consumer.claim(1)
    await consumer.emit(again, 1, ["2"])
    reader = read(redis, pool, lease.job_id)
    await asyncio.sleep(0)
    await consumer.settle([Succeeded(job_id=again.job_id, token=again.token)])
    assert [chunk[3] for chunk in await reader] == [1, 2]


async def test_the_output_lives_as_long_as_its_job(redis, pool, consumer, claim):
    """The output expires with the record, and a purge deletes the output; a job without chunks has no output."""
    silent, loud, running = await claim(), await claim(), await claim()
    for lease in (loud, running):
        await consumer.emit(lease, 1, ["1"])
    prefix = f"ap:{{{pool}}}:"
    assert await redis.ttl(f"{prefix}chunks:{running.job_id}") > 30 * 86_400
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token) for lease in (silent, loud)])
    record, chunks = [await redis.pttl(f"{prefix}{sort}:{loud.job_id}") for sort in ("job", "chunks")]
    assert chunks == pytest.approx(record, abs=1_000)
    assert not await redis.exists(f"{prefix}chunks:{silent.job_id}")
    assert await read(redis, pool, silent.job_id) == []
    await Inspector(redis).purge(pool)
    assert not await redis.exists(f"{prefix}chunks:{running.job_id}")


async def test_the_oldest_chunks_of_an_endless_output_are_dropped(redis, pool, consumer, claim):
    """A handler with endless output does not fill the server."""
    lease = await claim()
    for first in range(1, 12_001, 1_000):
        await consumer.emit(lease, first, ["1"] * 1_000)
    assert 10_000 <= await redis.xlen(f"ap:{{{pool}}}:chunks:{lease.job_id}") <= 10_200


async def test_impossible_chunks_are_refused(redis, pool):
    """The queue refuses a chunk that is too large, and a chunk of an unknown job."""
    with pytest.raises(PayloadTooLargeError, match="chunk"):
        encode_chunk("x" * 70_000)
    with pytest.raises(UnknownJobError):
        await read(redis, pool, JobId("nobody"))
