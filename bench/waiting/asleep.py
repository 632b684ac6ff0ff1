"""Waiting jobs without workers: the memory of each, and the time from a signal to the handler on a warm worker."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.client import Client
from agentpool_core.jobs import JobRequest
from agentpool_core.queue import PoolSettings
from bench.report import CannotRunError
from bench.stage import POOL, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import JobId
    from bench.stage import Stage

SLOTS = 100
AT_ONCE = 1_000  # submits in a call
MOST_QUEUED = 5_000  # submitted and not yet asleep
LOOK_SECONDS = 0.05
SLEEP_WITHIN_SECONDS = 900.0
RESUME_WITHIN_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Asleep:
    """Measures of a round."""

    bytes_a_job: float  # of Redis
    asleep_a_second: float  # jobs that a worker brings to their wait
    workers: int  # registered while the memory was read
    ready: int  # jobs that count as demand at that time
    resumes_s: list[float]  # from just before a signal to the handler behind the wait


async def asleep(jobs: int, signals: int) -> Asleep:
    """Let this many jobs wait, look at them without a worker, and resume some with one."""
    settings = PoolSettings(concurrency=SLOTS, max_depth=1_000_000)
    async with stage(settings) as place:
        await place.inspector.configure(POOL, settings)
        before = await _memory(place)
        begun = time.monotonic()
        async with place.workers(1, keep=True):
            ids = await _submitted(place, jobs)
            await _until_asleep(place, jobs)
        took_s = time.monotonic() - begun
        snapshot = await place.inspector.snapshot(POOL)
        if snapshot.waiting != jobs:
            raise CannotRunError(f"{snapshot.waiting} of {jobs} jobs wait")
        used = await _memory(place) - before
        async with place.workers(1):
            resumes = await _resumed(place, random.Random(jobs).sample(ids, signals))
    return Asleep(
        bytes_a_job=used / jobs,
        asleep_a_second=jobs / took_s,
        workers=len(snapshot.workers),
        ready=snapshot.queued + snapshot.due,
        resumes_s=resumes,
    )


async def _memory(place: Stage) -> float:
    return float((await place.redis.info("memory"))["used_memory"])


async def _submitted(place: Stage, jobs: int) -> list[JobId]:
    """Submit the jobs, not much faster than they fall asleep."""
    ids: list[JobId] = []
    while len(ids) < jobs:
        batch = [JobRequest(kind="approval") for _ in range(min(AT_ONCE, jobs - len(ids)))]
        ids += [receipt.job_id for receipt in await place.producer.submit_many(batch)]
        await _until_asleep(place, len(ids) - MOST_QUEUED)
    return ids


async def _until_asleep(place: Stage, jobs: int) -> None:
    deadline = time.monotonic() + SLEEP_WITHIN_SECONDS
    while (waiting := (await place.inspector.snapshot(POOL)).waiting) < jobs:
        if time.monotonic() > deadline:
            raise CannotRunError(f"{waiting} of {jobs} jobs wait after {SLEEP_WITHIN_SECONDS:g} s")
        await asyncio.sleep(LOOK_SECONDS)


async def _resumed(place: Stage, ids: Sequence[JobId]) -> list[float]:
    """Signal these jobs, one after the other; return the time of each from the signal to the handler."""
    times = []
    async with Client(place.url, pool=POOL) as client:
        for job_id in ids:
            begun = time.monotonic()
            await client.signal(job_id, "go", None)
            behind: Any = await client.result(job_id, timeout=RESUME_WITHIN_SECONDS)
            times.append(behind - begun)
    return times
