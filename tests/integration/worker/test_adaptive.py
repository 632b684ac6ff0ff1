"""A worker whose slots follow its GPU, from recorded readings to what the queue and Prometheus see of it."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

from agentpool.jobs import JobRequest
from agentpool.queue import Inspector, PoolSettings, Producer
from agentpool.queue.settings import AdaptiveMode
from agentpool_worker import App, Worker
from agentpool_worker.gpu import GpuReading
from agentpool_worker.settings import settings_from
from tests.fixtures.workers import until

RECORDING = Path(__file__).parents[2] / "unit" / "worker" / "gpu_recording.json"
SETTINGS = PoolSettings(concurrency=5, adaptive_mode=AdaptiveMode.GPU, adaptive_min=2, adaptive_max=8, lease_ms=1_000)

app = App()


@app.handler("wait")
async def wait(payload, ctx):
    await asyncio.Event().wait()


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


async def test_slots_follow_recorded_gpu_readings(redis, redis_url, pool, monkeypatch, caplog):
    """They rise to the ceiling while the GPU idles, fall when its memory fills, and each change says why."""
    monkeypatch.setattr("agentpool_worker.assembly.PERIOD_SECONDS", 0.1)
    caplog.set_level(logging.INFO, logger="agentpool_worker.adaptive")
    await Inspector(redis).configure(pool, SETTINGS)
    jobs = await Producer(redis, pool).submit_many([JobRequest(kind="wait")] * 12)
    reader = Recorded()
    own = settings_from({}, redis_url=redis_url, pool=pool, http_port=0, http_host="127.0.0.1", drain_seconds=0)
    worker = Worker(app, own, gpu_reader=reader)
    reader.full = lambda: worker.parts.slots.free == 0
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.parts is not None and worker.parts.slots.used == 8, "the ceiling is reached and used")
    await until(lambda: worker.parts.slots.total == 2, "the floor is reached")
    told = worker.parts.metrics.exposition().decode()
    assert 'agentpool_worker_slot_changes_total{reason="gpu_idle"} 3.0' in told
    assert 'agentpool_worker_slot_changes_total{reason="gpu_memory"}' in told
    assert 'agentpool_worker_gpu_memory_used_bytes{gpu="0"}' in told
    assert worker.parts.slots.used == 8  # those that run keep theirs

    async def queue_knows() -> bool:
        (seen,) = await Inspector(redis).workers(pool)
        return seen.slots == 2

    await until(queue_knows, "the queue knows of the floor")
    assert {record.reason for record in caplog.records} == {"gpu_idle", "gpu_memory"}
    worker.leave()
    worker.leave()
    await asyncio.wait_for(running, 20)
    assert reader.closed
    for job in jobs:
        await Producer(redis, pool).cancel(job.job_id)
