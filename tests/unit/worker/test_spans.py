"""Spans of attempts and steps, by the SDK of OpenTelemetry, without Redis."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

from agentpool_worker import App, spans
from agentpool_worker.adapters.pydantic_ai import durable
from agentpool_worker.testing import JobUnderTest
from tests.unit.worker.fakes import Bench, lease

TRACE_ID, SPAN_ID = "a" * 32, "b" * 16
TRACE = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}


class Finished:
    """The finished spans: by name, or the names in the order of their ends."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def __call__(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]


@pytest.fixture
def finished(monkeypatch):
    """Give the worker a tracer of this test; return the finished spans."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", lambda: provider.get_tracer("test"))
    yield Finished(exporter)
    provider.shutdown()


async def run(handler, **fields):
    app = App()
    app.handler("ask")(handler)
    async with Bench(app) as bench:
        bench.submit(lease("ask", **fields))
        await bench.settled(1)


async def test_an_attempt_and_its_steps_have_spans_in_the_submitters_trace(finished):
    """The attempt is a child of the submitter's span and linked to it; usage adds up in the step that reports it."""

    async def call(ctx):
        await ctx.usage(input_tokens=100, output_tokens=10, cost=0.1, model="large")
        await ctx.usage(input_tokens=50, output_tokens=5, cost=0.2)

    async def ask(payload, ctx):
        await ctx.step("model", call, ctx)
        await ctx.usage(input_tokens=1)

    await run(ask, trace=TRACE, attempt=2)
    attempt, step = finished()["process ask"], finished()["step model"]
    assert (f"{attempt.context.trace_id:032x}", f"{attempt.parent.span_id:016x}") == (TRACE_ID, SPAN_ID)
    assert [f"{link.context.span_id:016x}" for link in attempt.links] == [SPAN_ID]
    assert attempt.kind is SpanKind.CONSUMER
    assert step.parent.span_id == attempt.context.span_id
    expected = {
        "messaging.system": "agentpool", "messaging.operation.type": "process", "messaging.destination.name": "ask",
        "messaging.message.id": "job-1", "agentpool.attempt": 2, "agentpool.outcome": "succeeded",
        "gen_ai.usage.input_tokens": 1,
    }  # fmt: skip
    assert expected.items() <= dict(attempt.attributes).items()
    assert dict(step.attributes) == {
        "agentpool.step.name": "model", "agentpool.attempt": 2, "gen_ai.request.model": "large",
        "gen_ai.usage.input_tokens": 150, "gen_ai.usage.output_tokens": 15,
        "agentpool.usage.cost": pytest.approx(0.3),
    }  # fmt: skip


async def test_a_sync_handler_reports_usage_in_its_span(finished):
    """The call from the thread belongs to the span of the attempt; a job without a trace begins one."""

    def ask(payload, ctx):
        ctx.usage(input_tokens=7)

    await run(ask)
    attempt = finished()["process ask"]
    assert (attempt.parent, attempt.links, attempt.attributes["gen_ai.usage.input_tokens"]) == (None, (), 7)


async def test_a_failure_is_an_error_of_both_spans(finished):
    """Both spans have the type of the error, and the span of the step has the exception."""

    async def broken():
        raise ValueError("no such model")

    async def ask(payload, ctx):
        await ctx.step("model", broken)

    await run(ask)
    attempt, step = finished()["process ask"], finished()["step model"]
    assert (attempt.status.status_code, step.status.status_code) == (StatusCode.ERROR, StatusCode.ERROR)
    assert attempt.attributes["error.type"].endswith("StepFailedError")
    assert attempt.attributes["agentpool.outcome"] == "failed"
    assert [event.name for event in step.events] == ["exception"]


async def test_a_step_from_the_store_has_no_span(finished):
    """Each attempt has a span; only the one that did the work has a span of the step."""

    async def ask(payload, ctx):
        return await ctx.step("model", str)

    await JobUnderTest(ask).run(kill_after=["model"])
    assert sorted(finished.names()) == ["process under-test", "process under-test", "step model"]


async def test_calls_of_an_adapter_are_described_as_the_conventions_say(finished):
    """A request has its operation, provider, model and tokens; a call of a tool has the name and the id of the call."""

    def model(messages, _info):
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("look", tool_call_id="call-1")])
        return ModelResponse(parts=[TextPart("done")])

    agent = Agent(FunctionModel(model, model_name="small"))

    @agent.tool_plain
    def look() -> str:
        return "a page"

    async def ask(payload, ctx):
        return (await durable(agent, ctx, stream=False).run("go")).output

    job = JobUnderTest(ask)
    assert await job.run() == "succeeded", job.error
    request, call = dict(finished()["step model"].attributes), dict(finished()["step tool look call-1"].attributes)
    chat = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "function", "gen_ai.request.model": "small"}
    assert chat.items() <= request.items()
    assert request["gen_ai.usage.input_tokens"] > 0
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look", "gen_ai.tool.call.id": "call-1"}
    assert tool.items() <= call.items()
