"""A pool that accepts only the kinds of its routes: the error names the accepted kinds, and nothing is stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.client import Client
from agentpool_core.errors import UnknownKindError
from agentpool_core.jobs import JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, Route

OPEN = PoolSettings(
    routes=(Route(name="text", kinds=("summarize", "translate")), Route(name="code", kinds=("review",)))
)
CLOSED = replace(OPEN, refuse_unlisted_kinds=True)


@pytest.fixture
async def producer(redis, pool):
    """A producer of a closed pool that no worker has ever served."""
    await Inspector(redis).configure(pool, CLOSED)
    return Producer(redis, pool)


async def test_an_unlisted_kind_is_refused_with_the_accepted_kinds(redis, pool, producer):
    """The error names field, value and remedy for every kind of submit; the queue stores nothing of the call."""
    submits = (
        lambda client: client.submit("sumarize", {"path": "README.md"}),
        lambda client: client.submit("sumarize", priority="critical", idempotency_key="once"),
        lambda client: client.submit_many([{"kind": "review"}, {"kind": "sumarize"}]),
    )
    before = await redis.keys(f"ap:{{{pool}}}:*")
    async with Client(redis, pool=pool) as client:
        for submit in submits:
            with pytest.raises(UnknownKindError) as caught:
                await submit(client)
            error = caught.value
            assert (error.field, error.value) == ("kind", "sumarize")
            assert error.known == ("review", "summarize", "translate")
            assert (
                error.remedy == "use one of review, summarize, translate, or add the kind to a route of the AgentPool"
            )
    snapshot = await Inspector(redis).snapshot(pool)
    assert (snapshot.submitted_total, snapshot.queued) == (0, 0)
    assert await redis.keys(f"ap:{{{pool}}}:*") == before


async def test_a_listed_kind_is_accepted_before_any_worker(redis, pool, producer):
    """The routes define the accepted kinds, not the workers that happen to run."""
    for kind in ("summarize", "review", "review"):  # a different script stores the first job of a route
        assert (await producer.submit(JobRequest(kind=kind))).state is JobState.QUEUED


async def test_jobs_accepted_before_the_pool_closed_run(redis, pool):
    """A waiting unlisted job keeps its place, and a repeated submit returns its receipt."""
    await Inspector(redis).configure(pool, OPEN)
    producer = Producer(redis, pool)
    request = JobRequest(kind="poem", idempotency_key="once")
    first = await producer.submit(request)
    await Inspector(redis).configure(pool, CLOSED)
    again = await producer.submit(request)
    assert (again.job_id, again.duplicate) == (first.job_id, True)
    with pytest.raises(UnknownKindError):
        await producer.submit(JobRequest(kind="poem"))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    (lease,) = await consumer.claim(1)
    assert (lease.job_id, lease.route) == (first.job_id, "default")


async def test_a_message_about_many_kinds_stays_a_line():
    """A pool may list hundreds of kinds: the message shows some, and the error has all."""
    kinds = [f"k{n:02}" for n in range(30)]
    error = UnknownKindError(pool="ns/p", kind="x", known=kinds)
    assert "k09, …, or add" in str(error)
    assert "k10" not in str(error)
    assert error.known == tuple(kinds)
