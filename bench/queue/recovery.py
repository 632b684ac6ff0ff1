"""Recovery of a killed worker at default settings: `kill -9` with 10 jobs of 2 s in flight, a second worker at once.

The workers are processes as users start them. Seconds count from the kill until all jobs have ended; the events show
duplicate ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from agentpool_core.client import Client, request_of
from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, PoolSettings, connect
from agentpool_core.queue.snapshots import QueueSnapshot
from agentpool_worker.handlers.app import App
from bench.queue.contender import Figures, contender_main
from bench.report import CannotRunError

JOBS = 10
RUN_SECONDS = 2.0  # of each job
KILL_AFTER_SECONDS = 0.5  # of their run
GRACE_SECONDS = 2.0  # allowance of the bar beside lease and run time
ALLOWED_SECONDS = PoolSettings().lease_ms / 1000 + RUN_SECONDS + GRACE_SECONDS
WITHIN_SECONDS = 120.0
POLL_SECONDS = 0.01
POOL = PoolRef("bench", "recovery")

app = App()


@app.handler("sleep")
async def sleep(_payload: object) -> None:
    """A job that takes a while."""
    await asyncio.sleep(RUN_SECONDS)


@contextlib.contextmanager
def worker(url: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker process, as a user would."""
    command = [sys.executable, "-m", "agentpool_core", "worker", "bench.queue.recovery:app", "--http-port", "0"]
    where = ["--redis", url, "--pool", str(POOL), "--worker", name, "--log-level", "error"]
    with subprocess.Popen([*command, *where]) as process:
        try:
            yield process
        finally:
            process.kill()


async def _until(inspector: Inspector, holds: Callable[[QueueSnapshot], bool], what: str) -> QueueSnapshot:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not holds(snapshot := await inspector.snapshot(POOL)):
        if time.monotonic() > deadline:
            raise CannotRunError(f"not within {WITHIN_SECONDS:g} s: {what}; {snapshot}")
        await asyncio.sleep(POLL_SECONDS)
    return snapshot


async def recovery(url: str, jobs: int) -> Figures:
    """Kill a worker; return the recovery time, and the number of jobs that ended exactly once."""
    redis = connect(url)
    inspector = Inspector(redis)
    await inspector.configure(POOL, PoolSettings())
    async with Client(redis, pool=POOL) as client:
        with worker(url, "first") as first:
            await _until(inspector, lambda snapshot: bool(snapshot.workers), "a worker")
            await client.submit_many([request_of("sleep") for _ in range(jobs)])
            await _until(inspector, lambda snapshot: snapshot.started_total == jobs, "all jobs run")
            await asyncio.sleep(KILL_AFTER_SECONDS)
            first.kill()
            killed = time.perf_counter()
        with worker(url, "second"):
            await _until(inspector, lambda snapshot: snapshot.finished_total >= jobs, "all jobs ended")
            took_s = time.perf_counter() - killed
            ended = Counter(e.job_id for e in await inspector.events(POOL) if e.type == "succeeded")
    await redis.aclose()
    return {"recovery after kill -9 s": took_s, "ended exactly once jobs": sum(n == 1 for n in ended.values())}


if __name__ == "__main__":
    contender_main({"recovery": recovery})
