"""Lists of jobs on a real server come in pages, so every reply and every script is smaller than the list."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agentpool_core.jobs import JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, Route, connect, scripts, selection
from agentpool_core.queue.completions import Failed, Succeeded

MEGABYTE = 1_000_000
LARGEST_REPLY = 6 * 2**20  # a page and a job
STATES = (JobState.QUEUED, JobState.SCHEDULED, JobState.BLOCKED, JobState.RUNNING, JobState.FAILED)
EACH = 12  # jobs of each state


@pytest.fixture
def pages(monkeypatch):
    """Use pages that end after a kilobyte; count the reads, and run a change after the first."""
    seen = SimpleNamespace(read=0, between=None)
    run = scripts.Script.run

    async def noted(script, *args):
        reply = await run(script, *args)
        if script is scripts.LIST:
            seen.read += 1
            if seen.read == 1 and seen.between is not None:
                await seen.between()
        return reply

    monkeypatch.setattr(selection, "PAGE_BYTES", 1_000)
    monkeypatch.setattr(scripts.Script, "run", noted)
    return seen


async def jobs_in_all_states(redis, pool) -> dict[JobState, list[str]]:
    """Create jobs of two routes in every listed state; return their ids."""
    await Inspector(redis).configure(pool, PoolSettings(routes=(Route(name="other", kinds=("b",)),)))
    producer = Producer(redis, pool)
    workers = [Consumer(redis, pool, WorkerId(name)) for name in ("w1", "w2")]
    for worker in workers:
        await worker.register(slots=100, host="h")

    async def submit(count=EACH, **fields) -> list[str]:
        requests = [JobRequest(kind="ab"[n % 2], payload="x" * 300, **fields) for n in range(count)]
        return [receipt.job_id for receipt in await producer.submit_many(requests)]

    await submit(3 * EACH)
    failed = await workers[0].claim(EACH)
    await workers[0].settle([Failed(job_id=one.job_id, token=one.token, error="x", retry=False) for one in failed])
    running = [lease for _ in range(EACH // 2) for worker in workers for lease in await worker.claim(1)]
    scheduled = await submit(delay_ms=600_000)
    return {
        JobState.FAILED: [lease.job_id for lease in failed],
        JobState.RUNNING: [lease.job_id for lease in running],
        JobState.SCHEDULED: scheduled,
        JobState.BLOCKED: await submit(after=(scheduled[0],)),
    }


async def test_pages_make_the_same_list_as_a_single_reply(redis, pool, pages):
    """Each job appears once, in the same order; a limit ends the list early."""
    ids = await jobs_in_all_states(redis, pool)
    reader = Inspector(redis)
    for state in STATES:
        read_before = pages.read
        paged = await reader.jobs(pool, state)
        assert pages.read > read_before + 3, state
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(selection, "PAGE_BYTES", 2**30)
            whole = await reader.jobs(pool, state)
        assert paged == whole
        assert len({job.job_id for job in whole}) == EACH
        assert set(ids.get(state, [])) <= {job.job_id for job in whole}
        assert (await reader.jobs(pool, state, limit=5)) == whole[:5]


async def test_a_job_that_left_the_state_between_two_pages_is_left_out(redis, pool, pages):
    """All remaining jobs are listed, each once."""
    producer, reader = Producer(redis, pool), Inspector(redis)
    receipts = await producer.submit_many([JobRequest(kind="k", payload="x" * 1_000)] * 5)
    pages.between = lambda: producer.cancel(receipts[2].job_id)
    listed = await reader.jobs(pool, JobState.QUEUED)
    assert [job.job_id for job in listed] == [receipts[n].job_id for n in (0, 1, 3, 4)]


async def test_a_list_of_large_jobs_has_no_large_reply(redis_url, redis, pool):
    """The pages fit a client that takes no reply of many megabytes."""
    await Producer(redis, pool).submit_many([JobRequest(kind="k", payload="x" * MEGABYTE)] * 20)
    client = connect(redis_url, largest_reply_bytes=LARGEST_REPLY)
    listed = await Inspector(client).jobs(pool, JobState.QUEUED)
    assert [len(job.payload) for job in listed] == [MEGABYTE] * 20
    await client.aclose()


async def test_a_list_without_bodies_reads_none(redis_url, redis, pool):
    """Payloads are not read: the whole list fits a small reply, and no job counts as unreadable."""
    await Producer(redis, pool).submit_many([JobRequest(kind="k", payload="x" * MEGABYTE)] * 3)
    client = connect(redis_url, largest_reply_bytes=100_000)
    listed = await Inspector(client).jobs(pool, JobState.QUEUED, bodies=False)
    assert [(job.kind, job.payload, dict(job.undecodable)) for job in listed] == [("k", None, {})] * 3
    await client.aclose()


async def test_the_results_of_parents_are_no_part_of_a_record(redis_url, redis, pool):
    """A client with little memory can read a job that waited for many large results."""
    producer = Producer(redis, pool)
    parents = await producer.submit_many([JobRequest(kind="k")] * 10)
    child = await producer.submit(JobRequest(kind="k", after=tuple(parent.job_id for parent in parents)))
    worker = Consumer(redis, pool, WorkerId("w"))
    await worker.register(slots=10, host="h")
    for lease in await worker.claim(10):
        await worker.settle([Succeeded(job_id=lease.job_id, token=lease.token, result="x" * MEGABYTE)])
    client = connect(redis_url, largest_reply_bytes=LARGEST_REPLY)
    assert (await Inspector(client).job(pool, child.job_id)).state is JobState.QUEUED
    assert len(await Inspector(client).jobs(pool, JobState.QUEUED)) == 1
    await client.aclose()
