"""Schemas of results with a whole worker: a result that does not fit fails its attempt."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import BaseModel

from agentpool_core.client import Client
from agentpool_core.errors import JobEndedError, SchemaMismatchError
from agentpool_core.process.cancellation import end
from agentpool_core.queue import Inspector, PoolSettings
from agentpool_core.queue.completions import Failed, Succeeded
from agentpool_core.queue.settings import JobSchema
from agentpool_worker import App, Worker
from agentpool_worker.jobs.completion_buffer import checked
from agentpool_worker.settings import settings_from
from tests.fixtures.redis import wait_until


class Greeting(BaseModel):
    """A payload."""

    name: str


class Stranger(BaseModel):
    """A later version of the payload."""

    title: str


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


def app_with(model: type[BaseModel]) -> App:
    """Return a program whose handler takes a model and returns it."""
    app = App()

    async def greet(payload, ctx):
        return payload

    greet.__annotations__ = {"payload": model, "return": model}
    app.handler("greet")(greet)
    return app


async def test_a_worker_by_hand_publishes_the_models_of_its_handlers(redis, redis_url, pool):
    """A submit is checked by the model, also by that of the next version of the program, whose worker starts later."""
    client = Client(redis, pool=pool)
    for model, good, bad in ((Greeting, {"name": "Ada"}, {}), (Stranger, {"title": "Dr"}, {"name": "Ada"})):
        worker = Worker(app_with(model), redis=redis_url, pool=pool)
        running = asyncio.create_task(worker.run())
        await wait_until(lambda worker=worker: worker.parts is not None, "the worker serves")
        assert await client.result((await client.submit("greet", model(**good))).job_id, timeout=60) == good
        with pytest.raises(SchemaMismatchError, match="is a required property"):
            await client.submit("greet", bad)
        worker.leave()
        await running
    await client.close()


async def test_a_worker_of_an_agentpools_the_models_that_are_not_published(redis, redis_url, pool, caplog):
    """The settings stay those of the operator; the handler checks the payload itself."""
    await Inspector(redis).configure(pool, PoolSettings(max_attempts=1))
    settings = settings_from({}, redis_url=redis_url, pool=pool, http_port=0, http_host="127.0.0.1")
    worker = Worker(app_with(Greeting), settings)
    running = asyncio.create_task(worker.run())
    await wait_until(lambda: worker.parts is not None, "the worker serves")
    client = Client(redis, pool=pool)
    try:
        assert "does not publish the models of greet" in caplog.text
        assert (await Inspector(redis).settings(pool)).schemas == ()
        with pytest.raises(JobEndedError, match=r"payload\.name: Field required"):
            await client.result((await client.submit("greet", {})).job_id, timeout=60)
    finally:
        worker.leave()
        await end(running)
        await client.close()
