"""The output of a pool's jobs for many readers: few reads of Redis, and each chunk once, in order, for each reader."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import aclosing

import pytest

from agentpool_core.errors import QueueError
from agentpool_core.jobs import JobRequest
from agentpool_core.process.cancellation import end
from agentpool_core.queue import Producer
from agentpool_core.queue.chunks import MAX_CHUNK_BYTES, START
from agentpool_core.queue.reports import Emission
from agentpool_gateway.pools import output_hub
from agentpool_gateway.pools.output_hub import OutputHub
from tests.fixtures.redis import wait_until


@pytest.fixture
async def hub(redis, pool):
    hub = OutputHub(redis, pool)
    yield hub
    await hub.close()


@pytest.fixture
def leases(redis, pool, consumer):
    async def leases(count):
        await Producer(redis, pool).submit_many([JobRequest(kind="x")] * count)
        return await consumer.claim(count)

    return leases


@contextlib.asynccontextmanager
async def reading(hub, job_id, place=START):
    """Yield the list that a reader fills with the values of a job."""
    values = []

    async def read():
        async with aclosing(hub.chunks(job_id, place)) as chunks:
            async for chunk in chunks:
                values.append(chunk.value)  # noqa: PERF401 - tests look at the list meanwhile

    reader = asyncio.create_task(read())
    try:
        yield values
    finally:
        await end(reader)


async def test_readers_of_many_jobs_share_few_reads(redis, hub, consumer, leases):
    """All new chunks of all jobs come with one call, and each reader gets only the chunks of its job."""
    held = await leases(10)
    async with contextlib.AsyncExitStack() as stack:
        read = [await stack.enter_async_context(reading(hub, lease.job_id)) for lease in held]
        await wait_until(lambda: len(hub._reading) == len(held), "a shared read for all jobs")
        before = (await redis.execute_command("INFO", "commandstats"))["cmdstat_xread"]["calls"]
        for number in range(1, 21):
            chunks = [Emission(lease=lease, first=number, chunks=[str(number)]) for lease in held]
            assert await consumer.emit_all(chunks) == ["ok"] * len(held)
            await wait_until(lambda number=number: all(len(values) == number for values in read), "each chunk once")
        after = (await redis.execute_command("INFO", "commandstats"))["cmdstat_xread"]["calls"]
        assert all(values == list(range(1, 21)) for values in read)
        assert after - before <= 2 * 20


@pytest.mark.parametrize(("share", "backlog"), [(16, 1_000_000), (2, 0), (1, 1_100)])
async def test_readers_of_a_job_begin_anywhere_and_lose_nothing(hub, consumer, leases, monkeypatch, share, backlog):
    """A reader from the start, a reader from the middle, and readers that fall behind get each later chunk once."""
    monkeypatch.setattr(output_hub, "SHARE", share)
    monkeypatch.setattr(output_hub, "BACKLOG_BYTES", backlog)
    (lease,) = await leases(1)
    await consumer.emit(lease, 1, ["1", "2", "3"])
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(reading(hub, lease.job_id))
        slow = await stack.enter_async_context(aclosing(hub.follow(lease.job_id, START)))
        page = await anext(slow)
        seen = [chunk.value for chunk in page.chunks]
        second = await stack.enter_async_context(reading(hub, lease.job_id, page.chunks[1].id))
        for number in range(4, 40):
            await consumer.emit(lease, number, [str(number)])
        while len(seen) < 39:
            seen += [chunk.value for chunk in (await anext(slow)).chunks]
        await wait_until(lambda: (len(first), len(second)) == (39, 37), "all chunks")
        assert (first, second, seen) == (list(range(1, 40)), list(range(3, 40)), list(range(1, 40)))


async def test_a_reader_that_joins_between_two_reads_misses_nothing(hub, consumer, leases):
    """A shared read that began behind the new reader's place is not the reader's: the reader takes a page first."""
    (lease,) = await leases(1)
    async with reading(hub, lease.job_id) as first:
        await wait_until(lambda: lease.job_id in hub._reading, "the first reader reads")
        await consumer.emit(lease, 1, ["1"])
        await wait_until(lambda: first == [1], "the first chunk")
        assert not hub._may_join(lease.job_id, START)
        async with reading(hub, lease.job_id) as second:
            await consumer.emit(lease, 2, ["2"])
            await wait_until(lambda: first == second == [1, 2], "both chunks")


@pytest.mark.parametrize(("jobs", "seconds"), [(1, 0.0102), (100, 0.03), (10_000, 0.05)])
def test_the_more_jobs_are_followed_the_longer_they_gather(jobs, seconds):
    """A lone reader waits for 10 ms; chunks of many jobs come a few at once, and never later than 50 ms."""
    assert output_hub.gather_seconds(jobs) == pytest.approx(seconds)


async def test_a_page_of_the_largest_chunks_is_small(hub, consumer, leases):
    """A reader that takes nothing holds 2 MiB of a large output, not all of it."""
    (lease,) = await leases(1)
    chunk = json.dumps("x" * (MAX_CHUNK_BYTES - 2))
    for first in range(1, 50):
        await consumer.emit(lease, first, [chunk])
    async with aclosing(hub.follow(lease.job_id, START)) as pages:
        sizes = [sum(len(chunk.value) for chunk in (await anext(pages)).chunks) for _ in range(2)]
    assert max(sizes) <= 2 * 1024 * 1024
    assert sum(sizes) == 49 * (MAX_CHUNK_BYTES - 2)


async def test_a_stalled_reader_holds_few_bytes_and_loses_nothing(hub, consumer, leases):
    """A reader that takes nothing, beside a quick reader of the same large chunks, holds a MiB and a page at most."""
    (lease,) = await leases(1)
    chunk = json.dumps("x" * (MAX_CHUNK_BYTES - 2))
    async with reading(hub, lease.job_id) as quick, aclosing(hub.follow(lease.job_id, START)) as stalled:
        await consumer.emit(lease, 1, ["1"])
        seen = [chunk.value for chunk in (await anext(stalled)).chunks]
        joining = asyncio.ensure_future(anext(stalled))  # takes part in the shared reads
        for first in range(2, 40):
            await consumer.emit(lease, first, [chunk])
            await wait_until(lambda first=first: len(quick) == first, "the quick reader has the chunk")
        held = [sum(page.size for page in reader.pages) for reader in hub._readers[lease.job_id]]
        assert max(held) <= output_hub.BACKLOG_BYTES
        seen += [chunk.value for chunk in (await joining).chunks]
        while len(seen) < 39:
            seen += [chunk.value for chunk in (await anext(stalled)).chunks]
        assert seen == quick


async def test_a_failed_read_ends_its_readers(hub, leases, monkeypatch):
    """The reader gets the error, and resumes by its last place; it does not wait for ever."""
    (lease,) = await leases(1)
    real = output_hub.read_output

    async def read(redis, pool, places, **options):
        if "block_ms" in options:
            raise QueueError("away")
        return await real(redis, pool, places, **options)

    monkeypatch.setattr(output_hub, "read_output", read)
    async with aclosing(hub.follow(lease.job_id, START)) as pages:
        with pytest.raises(QueueError, match="away"):
            await anext(pages)
    assert not hub._places
