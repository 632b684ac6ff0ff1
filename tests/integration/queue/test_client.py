"""The public client, async and sync, against a worker that answers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import traceback

import pytest

from agentpool_core.client import Client
from agentpool_core.errors import (
    AgentPoolError,
    DependencyCycleError,
    InvalidJobError,
    JobEndedError,
    QueueFullError,
    ResultTimeoutError,
    UnknownJobError,
)
from agentpool_core.jobs import JobId, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings
from agentpool_core.queue.completions import Cancelled, CancelOutcome, Failed, Succeeded
from agentpool_core.queue.webhooks import Webhooks
from agentpool_core.sync_client import SyncClient


@pytest.fixture
async def worker(redis, pool):
    """A worker that doubles numbers, fails on text, and leaves `slow` jobs running."""
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=10, host="here")

    def end_of(lease):
        if isinstance(lease.payload, int):
            return Succeeded(job_id=lease.job_id, token=lease.token, result=lease.payload * 2)
        return Failed(job_id=lease.job_id, token=lease.token, error="not a number", retry=False)

    async def work():
        while True:
            await consumer.wait(5_000)
            leases = await consumer.claim(10)
            await consumer.settle([end_of(lease) for lease in leases if lease.kind != "slow"])

    task = asyncio.create_task(work())
    yield consumer
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_each_wait_gets_its_result(redis, pool, worker):
    """Each of many concurrent waits gets the result of its job; a failure is raised with its reason."""
    async with Client(redis, pool=pool) as client:
        receipts = await client.submit_many({"kind": "x", "payload": n, "timeout": 60} for n in range(50))
        results = await asyncio.gather(*(receipt.result(timeout=10) for receipt in receipts))
        assert results == [n * 2 for n in range(50)]
        assert await receipts[0].result() == 0
        failed = await client.submit("x", "text")
        with pytest.raises(JobEndedError, match="not a number") as caught:
            await failed.result(timeout=10)
        assert caught.value.state == "failed"
        with pytest.raises(UnknownJobError):
            await client.result("nobody")


async def test_a_wait_that_ends_early_leaves_the_job_alone(redis, pool, worker):
    """A timeout names the job and the time; the job can still be cancelled, and a later wait sees its end."""
    async with Client(redis, pool=str(pool)) as client:
        receipt = await client.submit("slow", delay=0, priority="critical", ttl=60)
        with pytest.raises(ResultTimeoutError, match=r"within 0\.05 s"):
            await receipt.result(timeout=0.05)
        waiting = asyncio.create_task(receipt.result(timeout=10))
        assert await receipt.cancel() in {CancelOutcome.REQUESTED, CancelOutcome.CANCELLED}
        job = await client.job(receipt.job_id)
        if job.state is JobState.RUNNING:
            await worker.settle([Cancelled(job_id=receipt.job_id, token=1)])
        with pytest.raises(JobEndedError, match="cancelled"):
            await waiting


async def test_events_describe_the_life_of_a_job(redis, pool, worker):
    """The events of one job come in order from the oldest, and reading can resume after any event."""
    async with Client(redis, pool=pool) as client:
        receipt = await client.submit("x", 4)
        await receipt.result(timeout=10)
        seen = []
        async for event in client.events(after="0", job_id=receipt.job_id):
            seen.append(event)
            if event.type == "succeeded":
                break
        assert [event.type for event in seen] == ["queued", "started", "succeeded"]
        assert seen[1].worker == "w"
        async for event in client.events(after=seen[1].id):
            assert event.type == "succeeded"
            break
        assert (await client.queue()).finished_total == 1


async def test_bad_options_are_named(redis, pool):
    """Negative seconds and unknown priorities are refused before any request."""
    async with Client(redis, pool=pool) as client:
        with pytest.raises(InvalidJobError, match="delay"):
            await client.submit("x", delay=-1)
        with pytest.raises(InvalidJobError, match="critical, task, info"):
            await client.submit("x", priority="urgent")


async def test_the_sync_client_does_the_same(redis_url, pool, worker):
    """A program without an event loop submits, waits and reads events."""

    def program():
        with SyncClient(redis_url, pool=pool) as client:
            receipt = client.submit("x", 21, priority="critical")
            assert receipt.result(timeout=10) == 42
            assert client.job(receipt.job_id).state is JobState.SUCCEEDED
            events = client.events(after="0")
            assert next(events).type == "queued"
            events.close()
            client.close()

    await asyncio.to_thread(program)


async def test_every_call_of_the_client(redis, pool, worker):
    """Ids, keys, parents, delays and limits reach the queue; waiting and dead jobs are listed, ended and replayed."""
    async with Client(redis, pool=pool) as client:
        parent = await client.submit("slow", job_id="parent", idempotency_key="once", preemptible=True, max_attempts=2)
        again = await client.submit("slow", job_id="parent", idempotency_key="once", preemptible=True, max_attempts=2)
        assert (again.job_id, again.duplicate) == (parent.job_id, True)
        child = await client.submit(
            "x", 1, after=[parent], after_condition="finished", timeout=5, trace={"traceparent": "t"}
        )
        later = await client.submit("x", 1, delay=60, ttl=120)
        assert [job.job_id for job in await client.jobs("blocked")] == [child.job_id]
        assert [job.job_id for job in await client.jobs(JobState.SCHEDULED)] == [later.job_id]
        assert (await client.job(child.job_id)).after == (parent.job_id,)
        assert await client.cancel(later.job_id, reason="enough") is CancelOutcome.CANCELLED
        assert (await client.job(later.job_id)).reason == "enough"
        dead = await client.submit("x", "text")
        with pytest.raises(JobEndedError):
            await dead.result(timeout=10)
        await client.replay(dead.job_id)
        with pytest.raises(JobEndedError):
            await dead.result(timeout=10)
        assert [entry.type for entry in (await client.job(dead.job_id)).history].count("failed") == 2
        assert [job.job_id for job in await client.jobs("failed")] == [dead.job_id]
        assert (await client.queue()).submitted_total == 4


def test_a_closed_sync_client_says_so(redis_url, pool_ref):
    """The message names the remedy, and no coroutine remains to cause a warning."""
    client = SyncClient(redis_url, pool=pool_ref)
    client.close()
    with pytest.raises(RuntimeError, match="this SyncClient is closed: make another one"):
        client.submit("greet")
    client.close()


async def test_the_sync_client_lacks_nothing(redis_url, pool, worker):
    """Every call of the async client works, with the same names and options, in a program without an event loop."""
    public = {name for name in vars(Client) if not name.startswith("_")}
    assert public <= set(vars(SyncClient))

    def program():
        with SyncClient(redis_url, pool=str(pool)) as client:
            assert str(client.pool) == str(pool)
            first, second = client.submit_many([{"kind": "x", "payload": 1}, {"kind": "x", "payload": "text"}])
            assert client.result(first.job_id, timeout=10) == 2
            with pytest.raises(JobEndedError, match="not a number"):
                second.result(timeout=10)
            assert [job.job_id for job in client.jobs("failed")] == [second.job_id]
            client.replay(second.job_id)
            later = client.submit("x", delay=60, after=[first], idempotency_key="once")
            assert client.submit("x", delay=60, after=[first], idempotency_key="once").job_id == later.job_id
            assert client.queue().scheduled == 1
            assert later.cancel() is CancelOutcome.CANCELLED
            assert client.cancel(later.job_id) is CancelOutcome.FINISHED

    await asyncio.to_thread(program)


@pytest.mark.parametrize("url", ["http://host", "redis://host:port"])
def test_a_sync_client_that_is_refused_leaves_no_thread(url):
    """A refused client ends its loop and its thread."""
    before = set(threading.enumerate())
    with pytest.raises(AgentPoolError):
        SyncClient(url, pool="ns/name")
    assert set(threading.enumerate()) == before


async def test_many_jobs_bring_their_webhooks_also_if_the_call_is_refused_midway(redis, pool, monkeypatch):
    """A URL or an object; the jobs that were kept before a full queue have theirs; a wrong one has its index."""
    monkeypatch.setattr("agentpool_core.queue.producer.JOBS_A_CALL", 2)
    await Inspector(redis).configure(pool, PoolSettings(max_depth=2))
    jobs = [{"kind": "x", "job_id": str(n), "webhook": f"https://{n}.example/"} for n in range(4)]
    jobs[0] |= {"after": ["2"], "webhook": {"url": "https://0.example/", "changes": ["failed"]}}
    async with Client(redis, pool=pool) as client:
        with pytest.raises(QueueFullError) as caught:
            await client.submit_many(jobs)
        kept = [receipt.job_id for receipt in caught.value.accepted]
        assert (len(kept), kept[0]) == (2, "2")
        for job_id in kept:
            (hook,), _ = await Webhooks(redis, pool).of_job(JobId(job_id))
            assert hook.url == f"https://{job_id}.example/"
        wrong = {"kind": "x", "webhook": {"url": "https://a.example/", "changes": ["x"]}}
        with pytest.raises(InvalidJobError, match="changes") as refused:
            await client.submit_many([{"kind": "x"}, wrong])
        assert refused.value.index == 1
        with pytest.raises(DependencyCycleError) as cycle:
            await client.submit_many([{"kind": "x", "job_id": "own", "after": ["own"]}])
        assert "During handling" not in "".join(traceback.format_exception(cycle.value))
