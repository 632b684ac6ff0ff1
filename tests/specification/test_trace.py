"""Recorded histories of a real queue fit the protocol, and forged ones do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.jobs import JobId, JobRequest, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.completions import Cancelled, Failed, Returned, ReturnReason, Succeeded, Waiting
from tests.specification.trace import Submitted, refusals

# A history without such an event is a possible history too: a wait may end by time in place of a signal, and a child
# may be submitted after the end of its parents.
UNSEEN = {"signalled", "blocked"}


NAMES = ("plain", "retried", "waits", "lost", "drained", "dead", "stopped")


def request(name, **fields):
    return JobRequest(kind="k", job_id=JobId(name), max_attempts=2, **fields)


def ends(leases):
    """Yield an end of each sort for the first attempts; the job `lost` gets none."""
    yield Succeeded(**leases["plain"], result=1)
    yield Failed(**leases["retried"], error="no")
    yield Waiting(**leases["waits"], signals=(("go", 1),), after_ms=None)
    yield Returned(**leases["drained"], reason=ReturnReason.DRAIN)
    yield Failed(**leases["dead"], error="no", retry=False)
    yield Cancelled(**leases["stopped"])


@pytest.fixture
async def recorded(redis, pool):
    """The history of jobs that go through every state, and what their submitter knows."""
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=60_000, retry_initial_ms=1, retry_max_ms=1))
    producer = Producer(redis, pool)
    one, two = (Consumer(redis, pool, WorkerId(name)) for name in ("one", "two"))
    child, late = request("child", after=(JobId("plain"),)), request("late", delay_ms=1)
    await producer.submit_many([*map(request, NAMES), child, late])
    await one.register(slots=10, host="h")
    leases = {lease.job_id: {"job_id": lease.job_id, "token": lease.token} for lease in await one.claim(10)}
    await producer.cancel(JobId("stopped"))
    await one.settle(list(ends(leases)))
    await producer.signal(JobId("waits"), "go", 1)
    await one.deregister()
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", 10_000)
    await two.register(slots=10, host="h")
    await two.maintain()
    await two.settle([Succeeded(job_id=each.job_id, token=each.token, result=1) for each in await two.claim(10)])
    submitted = {name: Submitted(most=2) for name in NAMES}
    submitted |= {"child": Submitted(2, after=("plain",)), "late": Submitted(2, delayed=True)}
    return await Inspector(redis).events(pool, limit=1_000), submitted


async def test_the_history_of_a_queue_is_a_life_of_the_protocol(recorded):
    """Every event of every job is one that the protocol could write at that moment."""
    history, submitted = recorded
    assert {event.type for event in history} >= {
        "queued", "scheduled", "blocked", "started", "retrying", "returned", "recovered", "waiting", "signalled",
        "resumed", "cancelling", "succeeded", "failed", "cancelled",
    }  # fmt: skip
    assert list(refusals(history, submitted)) == []


async def test_a_history_without_one_of_its_events_is_refused(recorded):
    """Whichever event is missing."""
    history, submitted = recorded
    for place, missing in enumerate(history):
        if missing.type not in UNSEEN:
            assert list(refusals([*history[:place], *history[place + 1 :]], submitted)), missing


async def test_a_history_with_a_forged_event_is_refused(recorded):
    """An event that is there twice, has a different attempt or worker, or comes after the end of its job."""
    history, submitted = recorded
    for place, event in enumerate(history):
        forged = [replace(event, attempt=event.attempt + 1), replace(event, worker="stranger")]
        for each in forged if event.type != "started" else forged[:1]:
            assert list(refusals([*history[:place], each, *history[place + 1 :]], submitted)), each
        if event.type != "signalled":
            assert list(refusals([*history[: place + 1], event, *history[place + 1 :]], submitted)), event
        assert list(refusals([*history, replace(event, type="started", worker="one")], submitted)), event
