"""A trace passes from the submitter through the handler to child jobs, with OpenTelemetry's API and without the API."""

from __future__ import annotations

import pytest
from opentelemetry import trace

from agentpool_core import tracing
from agentpool_worker import App
from tests.unit.worker.fakes import Bench, lease

TRACE_ID, SPAN_ID = "a" * 32, "b" * 16
TRACE = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "vendor=1"}

app = App()


def current() -> tuple[str, bool]:
    """The trace of the current span, and whether the span is remote."""
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}", span.is_remote


@app.handler("async")
async def in_loop(payload, ctx):
    await ctx.submit("child")
    return current()


@app.handler("sync")
def in_thread(payload, ctx):
    ctx.submit("child")
    return current()


@app.handler("headers")
async def headers(payload, ctx):
    await ctx.submit("child")
    return dict(ctx.trace)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_handler_runs_inside_the_submitters_trace(kind):
    """Spans of a handler, in the event loop or in a thread, belong to the trace, and so do its child jobs."""
    async with Bench(app) as bench:
        bench.submit(lease(kind, trace=TRACE))
        (completion,) = await bench.settled(1)
    assert completion.result == (TRACE_ID, True)
    (child,) = bench.queue.submitted
    assert child.trace["traceparent"].split("-")[1] == TRACE_ID


async def test_a_job_without_a_trace_runs_in_none():
    """A job's trace does not leak into the next job."""
    async with Bench(app) as bench:
        bench.submit(lease("async", trace=TRACE), lease("async", number=2))
        first, second = await bench.settled(2)
    assert (first.result[0], second.result) == (TRACE_ID, ("0" * 32, False))


async def test_without_opentelemetry_the_headers_are_passed_on(monkeypatch):
    """The API is no dependency: the trace still reaches handler and children, under a new span."""
    monkeypatch.setattr(tracing, "_HAS_OPENTELEMETRY", False)
    async with Bench(app) as bench:
        bench.submit(lease("headers", trace=TRACE))
        (completion,) = await bench.settled(1)
    assert completion.result == TRACE
    (child,) = bench.queue.submitted
    _, trace_id, span_id, _ = child.trace["traceparent"].split("-")
    assert (trace_id, span_id == SPAN_ID) == (TRACE_ID, False)
