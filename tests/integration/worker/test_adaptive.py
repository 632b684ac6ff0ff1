"""A worker with slots that follow a GPU, or a handler's report, as seen by the queue and Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agentpool_core.jobs import JobRequest
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_core.queue.settings import AdaptiveMode
from agentpool_worker import App, Overloaded, Worker
from agentpool_worker.settings import settings_from
from agentpool_worker.slots.gpu import GpuReading
from tests.fixtures.workers import until

RECORDING = Path(__file__).parents[2] / "unit" / "worker" / "gpu_recording.json"
SETTINGS = PoolSettings(concurrency=5, adaptive_mode=AdaptiveMode.GPU, adaptive_min=2, adaptive_max=8, lease_ms=1_000)

app = App()
calm = asyncio.Event()  # more work fits into the handler's resource


@app.handler("wait")
async def wait(payload, ctx):
    await asyncio.Event().wait()


@app.handler("call")
async def call(payload, ctx):
    if not calm.is_set():
        raise Overloaded(after_seconds=0.01)
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def serving(redis_url, pool, environ=(), **fields):
    """Run a worker in this loop; at the end it requeues its running jobs and leaves."""
    own = settings_from(
        dict(environ), redis_url=redis_url, pool=pool, http_port=0, http_host="127.0.0.1", drain_seconds=0
    )
    worker = Worker(app, own, **fields)
    running = asyncio.create_task(worker.run())
    try:
        await until(lambda: worker.parts is not None, "the worker serves")
        yield worker
    finally:
        worker.leave()
        worker.leave()
        await asyncio.wait_for(running, 20)


class Recorded:
    """Plays a recording: a frame each time that all slots are in use, then the last frame for ever."""

    def __init__(self) -> None:
        self._frames = json.loads(RECORDING.read_text())["frames"]
        self.full = lambda: False
        self.closed = False

    def read(self):
        frame = self._frames.pop(0) if len(self._frames) > 1 and self.full() else self._frames[0]
        return [GpuReading(**reading) for reading in frame]

    def close(self):
        self.closed = True


@pytest.fixture
def submit(redis, pool):
    """Submit this many jobs of a kind."""

    async def submit(kind, count):
        await Producer(redis, pool).submit_many([JobRequest(kind=kind)] * count)

    return submit


@pytest.fixture(autouse=True)
def logged_reasons(monkeypatch, caplog):
    """The reasons of all changes in the log; decisions come ten times a second."""
    monkeypatch.setattr("agentpool_worker.wiring.PERIOD_SECONDS", 0.1)
    caplog.set_level(logging.INFO, logger="agentpool_worker.slots.adaptive")
    return lambda: [record.reason for record in caplog.records if record.name == "agentpool_worker.slots.adaptive"]


async def test_slots_follow_recorded_gpu_readings(redis, redis_url, pool, submit, logged_reasons):
    """Slots rise to the ceiling while the GPU idles, fall when GPU memory fills, and each change logs a reason."""
    await Inspector(redis).configure(pool, SETTINGS)
    await submit("wait", 12)
    reader = Recorded()
    async with serving(redis_url, pool, gpu_reader=reader) as worker:
        slots = worker.parts.slots
        reader.full = lambda: slots.free == 0
        await until(lambda: slots.used == 8, "the ceiling is reached and used")
        await until(lambda: slots.total == 2, "the floor is reached")
        shown = worker.parts.metrics.exposition().decode()
        assert 'agentpool_worker_slot_changes_total{reason="gpu_idle"} 3.0' in shown
        assert 'agentpool_worker_slot_changes_total{reason="gpu_memory"}' in shown
        assert 'agentpool_worker_gpu_memory_used_bytes{gpu="0"}' in shown
        assert slots.used == 8  # the running jobs keep their slots

        async def queue_knows() -> bool:
            (seen,) = await Inspector(redis).workers(pool)
            return seen.slots == 2

        await until(queue_knows, "the queue knows of the floor")
    assert set(logged_reasons()) == {"gpu_idle", "gpu_memory"}
    assert reader.closed


async def test_slots_follow_the_model_server(redis, redis_url, pool, submit, logged_reasons):
    """The worker reads the metrics of the server that AGENTPOOL_SERVER_METRICS names, and gives up slots in vain."""
    await Inspector(redis).configure(pool, replace(SETTINGS, adaptive_mode=AdaptiveMode.GOODPUT))
    await submit("wait", 12)

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text="vllm:num_requests_waiting 3\n")

    metrics = web.Application()
    metrics.router.add_get("/metrics", show)
    async with TestServer(metrics) as server:
        environ = {"AGENTPOOL_SERVER_METRICS": str(server.make_url("/metrics"))}
        async with serving(redis_url, pool, environ) as worker:
            await until(lambda: worker.parts.slots.total == 3, "the slots in vain are given up")
    assert logged_reasons() == ["server"]


async def test_slots_follow_the_report_of_the_handler(redis, redis_url, pool, submit, logged_reasons):
    """Slots fall to the minimum during a reported overload, and rise to the ceiling once all are in use."""
    calm.clear()
    await Inspector(redis).configure(pool, replace(SETTINGS, adaptive_mode=AdaptiveMode.OVERLOAD))
    await submit("call", 12)
    async with serving(redis_url, pool) as worker:
        slots = worker.parts.slots
        await until(lambda: slots.total == 2, "the floor is reached")
        assert logged_reasons()[0] == "overloaded"
        calm.set()
        await until(lambda: slots.used == 8, "the ceiling is reached and used")
        shown = worker.parts.metrics.exposition().decode()
    assert set(logged_reasons()) == {"overloaded", "recovered"}
    for reason in set(logged_reasons()):
        assert f'agentpool_worker_slot_changes_total{{reason="{reason}"}} {logged_reasons().count(reason)}.0' in shown
