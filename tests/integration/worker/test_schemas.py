"""Schemas of results with a whole worker: a result that does not fit fails its attempt."""

from __future__ import annotations

import json

import pytest

from agentpool_core.client import Client
from agentpool_core.errors import JobEndedError
from agentpool_core.queue import Inspector, PoolSettings
from agentpool_core.queue.completions import Failed, Succeeded
from agentpool_core.queue.settings import JobSchema
from agentpool_worker.jobs.completion_buffer import checked


def test_only_a_result_is_checked():
    """A result that fits, a failure, and any result without a schema pass; another result becomes a failed attempt."""
    schema = json.dumps({"type": "object", "required": ["text"]})
    good = Succeeded(job_id="a", token=1, result={"text": ""})
    bad = Succeeded(job_id="a", token=1, result={"more": 1})
    failed = Failed(job_id="a", token=1, error="no")
    assert [checked(completion, schema) for completion in (good, failed)] == [good, failed]
    assert checked(bad, None) == bad
    found = checked(bad, schema)
    assert isinstance(found, Failed)
    assert found.retry
    assert 'result: "text" is a required property' in found.error


async def test_a_result_that_does_not_fit_fails_the_job(redis, pool, workers):
    """The job is retried, then a dead letter whose error has the path; a kind without a schema is not affected."""
    output = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}})
    settings = PoolSettings(
        schemas=(JobSchema(kinds=("number",), output=output),), max_attempts=2, retry_initial_ms=10, retry_max_ms=10
    )
    await Inspector(redis).configure(pool, settings)
    workers.start()
    client = Client(redis, pool=pool)
    try:
        assert await client.result((await client.submit("number", {"n": 1})).job_id, timeout=60) == {"n": 1}
        with pytest.raises(JobEndedError, match=r"result\.n"):
            await client.result((await client.submit("number", {"n": "one"})).job_id, timeout=60)
    finally:
        await client.close()
