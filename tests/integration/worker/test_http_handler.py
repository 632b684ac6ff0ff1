"""Jobs forwarded over real HTTP: every status, both kinds of streams, and stopped jobs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from agentpool_core.queue.completions import Cancelled, Failed, Returned, ReturnReason, Succeeded
from agentpool_core.queue.usage import UsageReport
from agentpool_worker.handlers.http import HttpHandlers
from agentpool_worker.jobs.execution import Stop
from tests.fixtures.redis import wait_until
from tests.unit.worker.fakes import Bench, is_deadline, lease


@pytest.fixture
async def serve():
    """Serve POST / by a function; return the URL."""
    runners = []

    async def serve(handler):
        app = web.Application()
        app.router.add_post("/", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/"

    yield serve
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def run(serve):
    """Run a job against a server function; return the completion and the bench."""

    async def run(handler, **fields):
        handlers = HttpHandlers(await serve(handler))
        await handlers.start()
        try:
            async with Bench(handlers) as bench:
                bench.submit(lease("any", {"n": 1}, **fields))
                (completion,) = await bench.settled(1)
                return completion, bench
        finally:
            await handlers.stop()

    return run


async def test_payload_and_headers_reach_the_container(run):
    """The payload is the body; id, kind, attempt, deadline and trace are headers."""

    async def handler(request):
        headers = {name: value for name, value in request.headers.items() if name.startswith("Agentpool")}
        return web.json_response({"payload": await request.json(), **headers, "trace": request.headers["traceparent"]})

    since = datetime.now(UTC)
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    completion, _ = await run(handler, trace=trace, attempt=2, timeout_ms=3_600_000)
    result = completion.result
    assert result["payload"] == {"n": 1}
    assert (result["Agentpool-Job-Id"], result["Agentpool-Kind"], result["Agentpool-Attempt"]) == ("job-1", "any", "2")
    assert result["trace"].startswith(f"00-{'a' * 32}-")
    assert is_deadline(result["Agentpool-Deadline"], since=since, timeout_ms=3_600_000)
    assert 3_000 < float(result["Agentpool-Timeout-Seconds"]) <= 3_600


async def test_container_gets_state_and_parents_from_an_address(run):
    """The saved state and the parents' results can be read while the job runs, and not after the end."""
    addresses = []

    async def handler(request):
        addresses.append(request.headers["Agentpool-Context"])
        async with aiohttp.ClientSession() as session, session.get(addresses[0]) as response:
            return web.json_response(await response.json())

    completion, _ = await run(handler, checkpoint={"at": 7}, parents={"job-0": "x" * 100_000})
    assert completion.result == {"state": {"at": 7}, "parents": {"job-0": "x" * 100_000}}


async def test_container_reports_usage_to_the_address(run):
    """A bad report is refused by the name of its field."""

    async def handler(request):
        address = f"{request.headers['Agentpool-Context']}/usage"
        answers = []
        async with aiohttp.ClientSession() as session:
            for body in ({"input_tokens": 5, "cost": 0.5, "model": "large"}, {"tokens": 5}, {"cost": -1}, [1]):
                async with session.post(address, json=body) as response:
                    answers.append([response.status, await response.text()])
        return web.json_response(answers)

    completion, bench = await run(handler)
    (taken, *refused) = completion.result
    assert taken == [204, ""]
    assert [status for status, _ in refused] == [400, 400, 400]
    assert "tokens" in refused[0][1]
    assert "cost" in refused[1][1]
    assert bench.queue.used == [(1, UsageReport(model="large", input_tokens=5, cost=0.5))]


async def test_container_reserves_money_at_the_address(run):
    """402 if a budget has too little left."""

    async def handler(request):
        address = f"{request.headers['Agentpool-Context']}/charges"
        answers = []
        async with aiohttp.ClientSession() as session:
            for body in ({"cost": 0.5}, {"cost": 9}, {"price": 1}):
                async with session.post(address, json=body) as response:
                    answers.append([response.status, await response.text()])
        return web.json_response(answers)

    completion, bench = await run(handler)
    assert [status for status, _ in completion.result] == [204, 402, 400]
    assert "budget 'fake': 1 of 2 is left" in completion.result[1][1]
    assert bench.queue.reserved == [500_000_000]


async def test_the_address_of_an_ended_job_is_not_found(serve):
    """The address of a different or an ended job is not found."""

    async def handler(request):
        return web.json_response(request.headers["Agentpool-Context"])

    handlers = HttpHandlers(await serve(handler))
    await handlers.start()
    async with Bench(handlers) as bench:
        bench.submit(lease())
        (completion,) = await bench.settled(1)
        async with aiohttp.ClientSession() as session, session.get(completion.result) as response:
            assert response.status == 404
    await handlers.stop()


async def test_a_streamed_line_may_be_long_and_the_last_may_lack_its_end(run):
    """A line may be as long as a result may be, in chunks of any size."""
    result = "x" * 2_000_000

    async def handler(request):
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(f'{{"progress": 1}}\n{{"result": "{result}"}}'.encode())
        return response

    completion, _ = await run(handler)
    assert completion.result == result


@pytest.mark.parametrize(
    ("status", "headers", "outcome"),  # the outcome: retry or not, delay in ms, overload signals
    [
        (400, {}, (False, None, 0)),
        (404, {}, (False, None, 0)),
        (408, {}, (False, None, 0)),
        (500, {}, (True, None, 0)),
        (302, {"Location": "/elsewhere"}, (False, None, 0)),
    ],
)
async def test_status_decides_how_the_job_ends(run, status, headers, outcome):
    """4xx and 3xx fail for good, and 5xx may be retried; a separate test covers overload."""

    async def handler(request):
        return web.Response(status=status, text="because", headers=headers)

    completion, bench = await run(handler)
    assert isinstance(completion, Failed)
    assert (completion.retry, completion.retry_after_ms, bench.overloads) == outcome
    assert f"answered {status}: because" in completion.error


@pytest.mark.parametrize(
    ("status", "headers", "after_ms"),
    [
        (429, {"Retry-After": "3"}, 3000),
        (503, {}, None),
        (503, {"Retry-After": "x"}, None),
        (503, {"Retry-After": "inf"}, None),
    ],
)
async def test_an_overloaded_container_defers_the_job(run, status, headers, after_ms):
    """429 and 503 defer the job for the time of Retry-After, and count no attempt."""

    async def handler(request):
        return web.Response(status=status, headers=headers)

    completion, bench = await run(handler)
    busy, said = ReturnReason.OVERLOADED, f"the container answered {status}"
    assert completion == Returned(job_id="job-1", token=1, reason=busy, after_ms=after_ms, said=said)
    assert bench.overloads == 1


async def test_empty_answer_is_a_result_of_none(run):
    """204 needs no body."""

    async def handler(request):
        return web.Response(status=204)

    completion, _ = await run(handler)
    assert completion == Succeeded(job_id="job-1", token=1, result=None)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("application/x-ndjson", ['{"progress": 1}\n', '{"checkpoint": {"at": 1}}\n', '{"result": "done"}\n']),
        (
            "text/event-stream",
            [
                "event: progress\ndata: 1\n\n",
                'event: checkpoint\ndata: {"at": 1}\n\n',
                'event: result\ndata: "done"\n\n',
            ],
        ),
    ],
)
async def test_streams_carry_progress_state_and_result(run, kind, lines):
    """NDJSON and server-sent events publish progress and save state before the result."""

    async def handler(request):
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        for line in lines:
            await response.write(line.encode())
        return response

    completion, bench = await run(handler)
    assert completion.result == "done"
    assert [value for _, value in bench.queue.saved] == [1, {"at": 1}]


async def test_stream_that_breaks_off_may_be_retried(run):
    """A stream without a result is a failure, not an empty success."""

    async def handler(request):
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b'{"progress": 1}\n')
        return response

    completion, _ = await run(handler)
    assert isinstance(completion, Failed)
    assert completion.retry
    assert "without a result" in completion.error


async def test_stopping_a_job_closes_its_request(serve):
    """A cancelled job's container sees the connection close.

    A preempted job's container sees the same at a checkpoint.
    """
    seen = []

    async def handler(request):
        seen.append("begun")
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            seen.append("closed")
            raise

    handlers = HttpHandlers(await serve(handler))
    await handlers.start()
    async with Bench(handlers) as bench:
        bench.submit(lease())
        await wait_until(lambda: seen, "the request has arrived")
        (execution,) = bench.running_jobs.running
        bench.running_jobs.stop(execution, Stop.CANCELLED)
        (completion,) = await bench.settled(1)
        await wait_until(lambda: seen == ["begun", "closed"], "the container has noticed")
    assert isinstance(completion, Cancelled)
    await handlers.stop()


async def test_yield_takes_effect_at_a_streamed_checkpoint(serve):
    """A streaming container is preempted when its state is saved."""
    goes_on = asyncio.Event()

    async def handler(request):
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b'{"progress": 1}\n')
        await goes_on.wait()
        await response.write(b'{"checkpoint": 5}\n{"result": 1}\n')
        return response

    handlers = HttpHandlers(await serve(handler))
    await handlers.start()
    async with Bench(handlers) as bench:
        bench.submit(lease())
        await wait_until(lambda: bench.queue.saved, "progress has arrived")
        (execution,) = bench.running_jobs.running
        execution.ask_to_yield(ReturnReason.PREEMPTED)
        goes_on.set()
        (completion,) = await bench.settled(1)
    assert completion == Returned(job_id="job-1", token=1, reason=ReturnReason.PREEMPTED, checkpoint=5)
    await handlers.stop()


async def test_an_absent_container_defers_the_job(serve):
    """A refused connection defers the job, because containers restart, and counts no attempt."""

    async def handler(request):
        return web.Response()

    handlers = HttpHandlers(await serve(handler))
    await handlers.start()
    handlers._url = "http://127.0.0.1:1/"
    async with Bench(handlers) as bench:
        bench.submit(lease())
        (completion,) = await bench.settled(1)
    assert (type(completion), completion.reason, completion.after_ms) == (Returned, ReturnReason.OVERLOADED, 2000)
    await handlers.stop()
