"""Schemas of payloads in the queue: every submit obeys the schema of the moment, however its client learns of it."""

from __future__ import annotations

import json

import pytest

from agentpool_core.errors import InvalidJobError, SchemaMismatchError
from agentpool_core.jobs import JobRequest, JobState, OnConflict, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, Route, scripts
from agentpool_core.queue.codec.requests import arguments, new_id
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.schedule import Schedule
from agentpool_core.queue.schedules import Schedules
from agentpool_core.queue.settings import JobSchema


def settings(**properties: object) -> PoolSettings:
    """Return the settings of a pool whose kind `greet` has these properties, all of them required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return PoolSettings(
        routes=(Route(name="greetings", kinds=("greet",)),),
        schemas=(JobSchema(kinds=("greet",), input=json.dumps(schema)),),
    )


NAMED = settings(name={"type": "string"})
GREET = JobRequest(kind="greet", payload={"name": "Ada"})
WRONG = JobRequest(kind="greet", payload={"name": 5})


async def submitted(redis, pool) -> int:
    """Return the number of stored jobs."""
    return (await Inspector(redis).snapshot(pool)).submitted_total


async def test_a_payload_that_does_not_fit_is_refused_with_its_path(redis, pool):
    """A submit of one job and of many names path and index; nothing is stored; other kinds take any payload."""
    await Inspector(redis).configure(pool, NAMED)
    producer = Producer(redis, pool)
    with pytest.raises(SchemaMismatchError) as raised:
        await producer.submit(WRONG)
    assert raised.value.field == "payload.name"
    other = JobRequest(kind="other", payload={"name": 5})
    for _ in range(2):  # the second call knows the schema
        with pytest.raises(SchemaMismatchError) as raised:
            await producer.submit_many([other, GREET, WRONG])
        assert (raised.value.field, raised.value.index) == ("payload.name", 2)
    assert await submitted(redis, pool) == 0
    assert (await producer.submit(GREET)).state is JobState.QUEUED
    assert [receipt.state for receipt in await producer.submit_many([other, GREET])] == [JobState.QUEUED] * 2
    assert await submitted(redis, pool) == 3


async def test_a_schema_holds_from_its_publication(redis, pool):
    """A client that knows an older schema, or none, obeys the present one, and a relaxed one at once."""
    producer = Producer(redis, pool)
    await producer.submit(WRONG)
    await Inspector(redis).configure(pool, NAMED)
    with pytest.raises(SchemaMismatchError):
        await producer.submit(WRONG)
    await producer.submit(GREET)
    await Inspector(redis).configure(pool, settings(name={"type": "integer"}))
    with pytest.raises(SchemaMismatchError):
        await producer.submit(GREET)
    await producer.submit(WRONG)
    await Inspector(redis).configure(pool, PoolSettings())
    await producer.submit(GREET)
    assert await submitted(redis, pool) == 4


@pytest.mark.parametrize("broken", ["{", "5", '{"default":NaN}', '{"type":"nosuch"}'])
async def test_a_broken_schema_ends_with_its_correction(redis, pool, broken):
    """A client that has met a schema which cannot be used reads the settings again, as after any difference."""
    published = PoolSettings(schemas=(JobSchema(kinds=("greet",), input=broken),))
    producer = Producer(redis, pool)
    await Inspector(redis).configure(pool, published)
    for _ in range(2):
        with pytest.raises(InvalidJobError, match="cannot be used"):
            await producer.submit(GREET)
    await Inspector(redis).configure(pool, NAMED)
    assert (await producer.submit(GREET)).state is JobState.QUEUED


async def test_a_repeated_submit_keeps_the_first_job(redis, pool):
    """A job that is already stored is found by its key, also if a stricter schema was published since."""
    producer = Producer(redis, pool)
    job = JobRequest(kind="greet", payload={"name": 5}, idempotency_key="k")
    first = await producer.submit(job)
    await Inspector(redis).configure(pool, NAMED)
    again = await producer.submit(job)
    assert (again.job_id, again.duplicate) == (first.job_id, True)
    with pytest.raises(SchemaMismatchError):
        await producer.submit(JobRequest(kind="greet", payload=1, idempotency_key="k", on_conflict=OnConflict.REPLACE))
    assert (await Inspector(redis).job(pool, first.job_id)).state is JobState.QUEUED


async def test_a_client_without_a_check_stores_nothing(redis, pool):
    """The scripts refuse a job without the digest of the present schema: a client of an older version."""
    await Inspector(redis).configure(pool, NAMED)
    await Producer(redis, pool).submit(GREET)  # the short script takes no first job of a route
    conf, args = Keys(pool).conf, arguments(GREET, new_id())
    job_id, spec, payload, _ = args
    kind, priority, rest = spec.split("|", 2)
    assert await scripts.SUBMIT_PLAIN.run(redis, conf, (job_id, kind, priority, rest, payload)) == -1
    for extras in ("", json.dumps({"schema": "stale"})):
        assert await scripts.SUBMIT.run(redis, conf, [*args[:3], extras]) == ["unchecked", 0]
    assert await submitted(redis, pool) == 1


async def test_the_payload_of_a_schedule_is_checked_when_it_is_stored(redis, pool):
    """A schedule with a wrong payload is refused; the jobs of a stored one are submitted."""
    await Inspector(redis).configure(pool, NAMED)
    schedules = Schedules(redis, pool)
    wrong = Schedule(name="daily", kind="greet", every_ms=60_000, payload={})
    with pytest.raises(SchemaMismatchError, match="payload"):
        await schedules.put(wrong)
    await schedules.put(Schedule(name="daily", kind="greet", every_ms=60_000, payload={"name": "Ada"}))
    await redis.hset(Keys(pool).counters, "clock_offset_ms", 60_000)
    assert await schedules.run_due() == 1


async def test_a_broken_schema_refuses_its_kind_only(redis, pool):
    """Settings of a different version with an unusable schema refuse submits of that kind with a remedy."""
    broken = PoolSettings(schemas=(JobSchema(kinds=("greet",), input='{"$ref": "http://example.com"}'),))
    await Inspector(redis).configure(pool, broken)
    producer = Producer(redis, pool)
    with pytest.raises(InvalidJobError, match=r"cannot be used.*correct the schema"):
        await producer.submit(GREET)
    await producer.submit(JobRequest(kind="other"))
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    assert len(await consumer.claim(1)) == 1
