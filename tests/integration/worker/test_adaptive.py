"""A worker whose slots follow its GPU, or its handler's word, to what the queue and Prometheus see of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

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
calm = asyncio.Event()  # what the handler calls can take more


@app.handler("wait")
async def wait(payload, ctx):
    await asyncio.Event().wait()


@app.handler("call")
async def call(payload, ctx):
    if not calm.is_set():
        raise Overloaded(after_seconds=0.01)
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def serving(redis_url, pool, **fields):
    """A worker in this loop; in the end it hands back what runs, and is gone."""
    own = settings_from({}, redis_url=redis_url, pool=pool, http_port=0, http_host="127.0.0.1", drain_seconds=0)
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
    """Plays a recording, a frame each time that all slots are in use, and stays at its last."""

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
    """Submits as many jobs of a kind."""

    async def submit(kind, count):
        await Producer(redis, pool).submit_many([JobRequest(kind=kind)] * count)

    return submit


@pytest.fixture(autouse=True)
def told(monkeypatch, caplog):
    """The reasons of all changes, as the log tells them; a decision comes ten times a second."""
    monkeypatch.setattr("agentpool_worker.wiring.PERIOD_SECONDS", 0.1)
    caplog.set_level(logging.INFO, logger="agentpool_worker.slots.adaptive")
    return lambda: [record.reason for record in caplog.records if record.name == "agentpool_worker.slots.adaptive"]


async def test_slots_follow_recorded_gpu_readings(redis, redis_url, pool, submit, told):
    """They rise to the ceiling while the GPU idles, fall when its memory fills, and each change says why."""
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
        assert slots.used == 8  # those that run keep theirs

        async def queue_knows() -> bool:
            (seen,) = await Inspector(redis).workers(pool)
            return seen.slots == 2

        await until(queue_knows, "the queue knows of the floor")
    assert set(told()) == {"gpu_idle", "gpu_memory"}
    assert reader.closed


async def test_slots_follow_what_the_handler_says(redis, redis_url, pool, submit, told):
    """They fall to the floor while it says that it is overloaded, and rise to the ceiling once it takes all of them."""
    calm.clear()
    await Inspector(redis).configure(pool, replace(SETTINGS, adaptive_mode=AdaptiveMode.OVERLOAD))
    await submit("call", 12)
    async with serving(redis_url, pool) as worker:
        slots = worker.parts.slots
        await until(lambda: slots.total == 2, "the floor is reached")
        assert told()[0] == "overloaded"
        calm.set()
        await until(lambda: slots.used == 8, "the ceiling is reached and used")
        shown = worker.parts.metrics.exposition().decode()
    assert set(told()) == {"overloaded", "recovered"}
    for reason in set(told()):
        assert f'agentpool_worker_slot_changes_total{{reason="{reason}"}} {told().count(reason)}.0' in shown
