"""A trace from the submitting program, through the queue, to the running handler."""

from __future__ import annotations

import asyncio

from opentelemetry import trace

from agentpool_core.client import Client
from agentpool_core.sync_client import SyncClient
from agentpool_worker import App, Worker
from agentpool_worker.settings import settings_from
from tests.fixtures.workers import until

app = App()
SPAN = trace.NonRecordingSpan(
    trace.SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
)


@app.handler("whose")
async def whose(payload):
    return trace.get_current_span().get_span_context().trace_id


async def test_a_job_submitted_inside_a_span_runs_inside_that_span(redis_url, pool):
    """The trace context passes by itself; outside a span no trace exists, and an explicit trace wins."""
    own = settings_from({}, redis_url=redis_url, pool=pool, http_port=0, http_host="127.0.0.1", publish_defaults=True)
    worker = Worker(app, own)
    running = asyncio.create_task(worker.run())
    given = {"traceparent": f"00-{0x123:032x}-{0x456:016x}-01"}

    def from_a_thread():
        with trace.use_span(SPAN), SyncClient(redis_url, pool=pool) as client:
            return client.submit("whose").result(timeout=30)

    async with Client(redis_url, pool=pool) as client:
        await until(lambda: worker.parts is not None, "the pool has settings")
        outside = await client.submit("whose")
        with trace.use_span(SPAN):
            inside = [await client.submit("whose"), *await client.submit_many([{"kind": "whose"}])]
            other = await client.submit("whose", trace=given)
        assert await outside.result(timeout=30) == 0
        assert [await receipt.result(timeout=30) for receipt in inside] == [0xABC] * 2
        assert await other.result(timeout=30) == 0x123
        assert await asyncio.to_thread(from_a_thread) == 0xABC
    worker.leave()
    await asyncio.wait_for(running, 20)
