"""Containers and commands wait without a slot, and emit output, over the address of their job's context."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from agentpool_core.client import Client
from agentpool_core.jobs import JobState, LeaseToken
from agentpool_core.queue import Inspector, PoolSettings
from agentpool_core.queue.completions import Succeeded, Waiting
from agentpool_worker.handlers.http import HttpHandlers
from tests.fixtures.workers import until
from tests.unit.worker.fakes import Bench, FakeQueue, lease

COMMAND = Path(__file__).parents[2] / "fixtures" / "apps" / "command_waits.sh"


@pytest.fixture
async def attempt():
    """Run attempts at one job, each by a function that plays the container; return the completion and the queue."""
    queue = FakeQueue()
    tokens = iter(range(1, 10))

    async def attempt(container):
        async def handler(request):
            async with aiohttp.ClientSession() as session:
                return await container(session, request.headers["Agentpool-Context"])

        app = web.Application()
        app.router.add_post("/", handler)
        runner = web.AppRunner(app, shutdown_timeout=5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        handlers = HttpHandlers(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        await handlers.start()
        try:
            async with Bench(handlers) as bench:
                bench.queue.steps_of, bench.queue.signals = queue.steps_of, queue.signals
                bench.submit(lease(token=LeaseToken(next(tokens))))
                (completion,) = await bench.settled(1)
                queue.chunks = bench.queue.chunks
                return completion, queue
        finally:
            await handlers.stop()
            await runner.cleanup()

    return attempt


async def test_a_container_waits_for_a_signal(attempt):
    """The lasting wait is answered with 409 after the attempt; the next attempt gets the value of the signal."""
    answers = []

    async def container(session, address):
        async with session.post(f"{address}/waits/approval?timeout=3600") as answer:
            answers.append((answer.status, await answer.json()))
            return web.json_response(await answer.json())

    completion, queue = await attempt(container)
    assert isinstance(completion, Waiting)
    assert completion.signals == (("approval", 1),)
    assert 3_590_000 < completion.after_ms <= 3_600_000
    queue.signals["job-1", "approval", 1] = '{"ok":true}'
    completion, _ = await attempt(container)
    assert completion == Succeeded(job_id="job-1", token=2, result={"ok": True})
    refusal = {"error": "the job waits without a slot: stop; it runs again after the wait"}
    assert answers == [(409, refusal), (200, {"ok": True})]


async def test_a_container_rests_and_emits(attempt):
    """Waits of one signal have names; chunks come from the address and from the streamed answer, in order."""

    async def container(session, address):
        statuses = []
        for path in ("sleeps/a?seconds=0", "waits/x?timeout=0", "waits/x?name=b&timeout=0"):
            async with session.post(f"{address}/{path}") as answer:
                statuses.append(answer.status)
        async with session.post(f"{address}/chunks", data='"first"') as answer:
            statuses.append(answer.status)
        text = f'{{"chunk": "second"}}\n{{"result": {statuses}}}\n'
        return web.Response(text=text, content_type="application/x-ndjson")

    completion, queue = await attempt(container)
    assert completion.result == [204] * 4
    assert queue.chunks == [(1, '"first"'), (2, '"second"')]
    assert [(step.name, step.outcome.value) for step in queue.steps_of["job-1"].values()] == [
        ("~sleep#a", "succeeded"),
        ("~wait:x", "expired"),
        ("~wait:x#b", "expired"),
    ]


REFUSED = {
    "waits/a%20b": "signal: 'a b': not a name of a signal",
    "waits/x?timeout=soon": "timeout: 'soon' is not a number of seconds; write digits, such as 3600",
    "waits/x?timeout=-1": "is not a time of 0 s to 366 days",
    "waits/x?name=a%23b": "not a name of a step",
    "sleeps/a": "None is not a time of 0 s to 366 days",
    "sleeps/a?seconds=nan": "nan is not a time of 0 s to 366 days",
    "chunks": "chunk: not JSON (",
    "charges": "charge: not JSON (",
    "usage": "usage: not JSON (",
    "waits/x": "question: not JSON (",
}


async def test_a_request_that_cannot_be_served_is_refused(attempt):
    """The answer names field, value and remedy; the job goes on."""

    async def container(session, address):
        found = {}
        for path, words in REFUSED.items():
            data = "{not json" if "not JSON" in words else None
            async with session.post(f"{address}/{path}", data=data) as answer:
                assert answer.status == 400
                found[path] = (await answer.json())["error"]
        return web.json_response(found)

    completion, queue = await attempt(container)
    assert isinstance(completion, Succeeded), completion
    for path, words in REFUSED.items():
        assert words in completion.result[path]
    assert not queue.steps_of["job-1"]


async def test_a_step_of_a_container_begins_with_the_question_for_it(attempt):
    """The record of a step has the time between the GET that found nothing and the PUT."""

    async def container(session, address):
        async with session.get(f"{address}/steps/long") as answer:
            assert answer.status == 404
        async with session.post(f"{address}/sleeps/between?seconds=0.05"):
            pass
        async with session.put(f"{address}/steps/long", data="1"):
            pass
        return web.json_response(None)

    _, queue = await attempt(container)
    between, long = queue.steps_of["job-1"].values()
    assert long.started_at_ms <= between.started_at_ms
    assert between.duration_ms >= 40
    assert long.started_at_ms + long.duration_ms >= between.started_at_ms + between.duration_ms


async def test_a_container_retries_a_step(attempt):
    """The worker counts and paces the tries; the failed step is listed, and a later attempt begins its tries again."""

    async def failing(session, address):
        failures, answers = f"{address}/steps/fetch/failures", []
        for query in ("retries=2&backoff=0",) * 3 + ("retries=x", "backoff=61"):
            async with session.post(f"{failures}?{query}", data='"no page"') as answer:
                answers.append((answer.status, await answer.text()))
        return web.json_response(answers)

    completion, queue = await attempt(failing)
    statuses, texts = zip(*completion.result, strict=True)
    assert statuses == (204, 204, 422, 400, 400)
    assert "step 'fetch' failed, and no retry is left: no page" in texts[2]
    assert "backoff: '61' is not a number from 0 to 60" in texts[4]
    (step,) = queue.steps_of["job-1"].values()
    assert (step.name, step.outcome.value, step.result) == ("fetch", "failed", "no page")

    async def working(session, address):
        async with session.post(f"{address}/steps/fetch/failures?retries=1&backoff=0", data='"no page"') as answer:
            assert answer.status == 204
        async with session.put(f"{address}/steps/fetch", data='"page"') as answer:
            return web.json_response(await answer.json())

    completion, queue = await attempt(working)
    (step,) = queue.steps_of["job-1"].values()
    assert (completion.result, step.outcome.value, step.result) == ("page", "succeeded", "page")


async def test_a_command_waits_at_a_free_slot(workers, redis, pool):
    """The process ends in its wait, the slot serves a different job, and the signal starts the command again."""
    await Inspector(redis).configure(pool, PoolSettings(concurrency=1, retry_initial_ms=20, lease_ms=1_000))
    client = Client(redis, pool=pool)
    workers.start("--handler-command", f"sh {COMMAND}", app=None)
    first, second = [await client.submit("script", None) for _ in range(2)]

    async def both_wait():
        return all([(await client.job(each.job_id)).state is JobState.WAITING for each in (first, second)])

    await until(both_wait, "both jobs wait, one after the other in the only slot")
    assert (await client.job(first.job_id)).question == "Ship it?"
    await first.signal("approval", {"ok": True})
    assert await first.result(timeout=40) == [{"ok": True}, ""]
    job = await client.job(first.job_id)
    assert job.attempt == 1
    assert [step.name for step in job.steps] == ["~wait:approval", "~sleep#overnight", "~wait:approval#second"]
    chunks = [(chunk.run, chunk.value) async for chunk in first.stream()]
    assert chunks == [(run, value) for run in (1, 2) for value in ("from the pipe", {"from": "the address"})]
