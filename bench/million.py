"""A million jobs in one pool: queued, run by two workers with a kill in the middle, and each ended exactly once.

A queue that slows down with its past shows in the pace of the tenths. The ratios compare tenths with equal numbers of
workers: the fifth with the second, before the kill, and the last with the seventh, after it. The jobs of the killed
worker run again in the sixth. The memory of a worker after its first jobs is compared with that at the end.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import psutil

from agentpool_core.jobs import JobRequest
from agentpool_core.queue import PoolSettings
from agentpool_core.queue.audit import audit
from agentpool_core.queue.keys import Keys
from bench.report import Figure, Report, quick
from bench.stage import POLL_SECONDS, POOL, stage

if TYPE_CHECKING:
    from bench.stage import Stage

NAME = "million"
JOBS = 1_000_000
QUICK_JOBS = 20_000
PARTS = 10
LEASE_MS = 5_000
REQUIRED = {
    "jobs ended once / jobs": 1.0,
    "pace of two workers, fifth tenth / second": 0.8,
    "pace of one worker, last tenth / seventh": 0.8,
    "memory of a worker, second tenth / last": 0.9,
}


async def run() -> Report:
    """Fill, drain, count."""
    jobs = QUICK_JOBS if quick() else JOBS
    settings = PoolSettings(concurrency=100, max_depth=jobs, lease_ms=LEASE_MS)
    async with stage(settings) as place:
        await place.inspector.configure(POOL, settings)
        figures = await _fill(place, jobs)
        async with place.workers(2, keep=True):
            figures |= await _drain(place, jobs)
        ended = await place.inspector.snapshot(POOL)
        succeeded = int(await place.redis.hget(Keys(POOL).counters, "succeeded") or 0)
        contradictions = await audit(place.redis, POOL)
    paces, memory = figures["pace of a tenth"].runs, figures["memory of a worker"].runs
    return Report(
        name=NAME,
        figures=figures,
        ratios={
            "jobs ended once / jobs": min(succeeded, 2 * jobs - ended.finished_total) / jobs,
            "pace of two workers, fifth tenth / second": paces[4] / paces[1],
            "pace of one worker, last tenth / seventh": paces[-1] / paces[6],
            "memory of a worker, second tenth / last": memory[1] / memory[-1],
        },
        required=REQUIRED,
        notes=[
            f"{jobs} jobs of 200 bytes in one pool; two workers of 100 slots, the first killed after half of the jobs",
            f"{ended.started_total - jobs} jobs ran again; contradictions in the audit: {len(contradictions)}",
        ],
    )


async def _fill(place: Stage, jobs: int) -> dict[str, Figure]:
    payload = {"text": "x" * 180}
    paces = []
    for _ in range(PARTS):
        began = time.perf_counter()
        await place.producer.submit_many([JobRequest(kind="noop", payload=payload) for _ in range(jobs // PARTS)])
        paces.append(jobs / PARTS / (time.perf_counter() - began))
    return {"submits": Figure(unit="jobs/s", runs=tuple(paces)), "a queued job": await _bytes(place, jobs)}


async def _drain(place: Stage, jobs: int) -> dict[str, Figure]:
    """Follow the drain; kill the first worker after half of the jobs."""
    paces, memory = [], []
    for part in range(1, PARTS + 1):
        began, before = time.perf_counter(), await place.finished()
        while (done := await place.finished()) < jobs * part // PARTS:  # noqa: ASYNC110  # another process's state
            await asyncio.sleep(POLL_SECONDS)
        paces.append((done - before) / (time.perf_counter() - began))
        (worker,) = psutil.Process(place.pids[1]).children()
        memory.append(worker.memory_info().rss / 2**20)
        if part == PARTS // 2:
            psutil.Process(place.pids[0]).kill()  # the supervisor; its worker ends with it
    return {
        "pace of a tenth": Figure(unit="jobs/s", runs=tuple(paces)),
        "memory of a worker": Figure(unit="MiB", runs=tuple(memory)),
        "an ended job": await _bytes(place, jobs),
    }


async def _bytes(place: Stage, jobs: int) -> Figure:
    used = (await place.redis.info("memory"))["used_memory"]
    return Figure(unit="bytes", runs=(used / jobs,))
