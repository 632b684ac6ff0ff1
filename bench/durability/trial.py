"""One trial: submitters and a worker meet a fault of Redis; then every acknowledged job is looked for.

A submitter repeats an unacknowledged submit with the same id until it is acknowledged. The trial ends once all jobs
that Redis knows have ended and an audit finds no contradiction.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import QueueError
from agentpool_core.jobs import Durability, JobId, JobRequest, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect
from agentpool_core.queue.audit import audit
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.keys import Keys
from agentpool_local.stack.child import Child
from bench.durability.places import until
from bench.durability.recording import KIND
from bench.stage import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

POOL = PoolRef("bench", "durability")
LEASE_MS = 2_000
SETTINGS = PoolSettings(lease_ms=LEASE_MS)
SUBMITTERS = 8
PAUSE_SECONDS = 0.005  # of a submitter between two submits
BEFORE_SECONDS, AFTER_SECONDS = 1.5, 0.3  # of submits before the fault, and after the return
ENOUGH = SUBMITTERS  # further acknowledged jobs before the fault
KEYS_A_CALL = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The counts of a trial."""

    acknowledged: int
    lost: int  # acknowledged, and unknown to Redis after all
    again: int  # jobs with more than one finished run
    heal_s: float  # from the fault until all has ended without a contradiction


class Load:
    """Submitters, and the ids that Redis has acknowledged to them."""

    def __init__(self, redis: Any, durability: Durability, file: Path) -> None:
        self._producer = Producer(redis, POOL, durability=durability)
        self._file = file
        self.acknowledged: list[JobId] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Submit from several tasks; wait for the answers to all started calls."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for name in range(SUBMITTERS):
                tasks.create_task(self._submit_until(over, name))
            try:
                yield
            finally:
                over.set()

    async def _submit_until(self, over: asyncio.Event, name: int) -> None:
        number = 0
        while not over.is_set():
            job_id = JobId(f"t{name}-{number}")
            with contextlib.suppress(QueueError):
                await self._producer.submit(JobRequest(kind=KIND, payload=str(self._file), job_id=job_id))
                self.acknowledged.append(job_id)
                number += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def until_more(self, count: int) -> None:
        """Return once that many further jobs are acknowledged."""
        wanted = len(self.acknowledged) + count

        async def enough() -> bool:
            return len(self.acknowledged) >= wanted

        await until(enough, f"{count} more acknowledged jobs")


async def run_trial(
    url: str, directory: Path, durability: Durability, fault: Callable[[], Awaitable[float]]
) -> Outcome:
    """Run the fault under load. `fault` returns the time of the monotonic clock when it struck."""
    file = directory / "runs"
    file.touch()
    async with contextlib.AsyncExitStack() as stack:
        redis = connect(url)
        stack.push_async_callback(redis.aclose)
        await Inspector(redis).configure(POOL, SETTINGS)
        await stack.enter_async_context(_worker(url, directory))
        await until(lambda: _registered(redis), "a worker registers")
        load = Load(redis, durability, file)
        async with load.running():
            await asyncio.sleep(BEFORE_SECONDS)
            await load.until_more(ENOUGH)
            struck = await fault()
            await until(lambda: _configured(redis), "the pool is configured again")  # as the operator does
            await until(lambda: _accepts(redis), "Redis takes jobs again")
            await asyncio.sleep(AFTER_SECONDS)
        await until(lambda: _healed(redis), "all jobs have ended without a contradiction")
        healed = time.monotonic()
        known = await _known(redis, load.acknowledged)
    runs = Counter(file.read_text(encoding="ascii").split())
    return Outcome(
        acknowledged=len(load.acknowledged),
        lost=len(load.acknowledged) - known,
        again=sum(count > 1 for count in runs.values()),
        heal_s=healed - struck,
    )


@contextlib.asynccontextmanager
async def _worker(url: str, directory: Path) -> AsyncIterator[None]:
    argv = [sys.executable, "-m", "agentpool_core", "worker", "bench.durability.recording:app", "--redis", url]
    argv += ["--pool", str(POOL), "--http-host", "127.0.0.1", "--http-port", "0", "--log-level", "error"]
    environment = {"PYTHONPATH": str(CHECKOUT)}
    child = await Child.start("worker", argv, cwd=directory, sink=lambda _name, _line: None, environment=environment)
    try:
        yield
    finally:
        await child.stop(seconds=10)


async def _registered(redis: Any) -> bool:
    return bool(await Inspector(redis).workers(POOL))


async def _configured(redis: Any) -> bool:
    with contextlib.suppress(QueueError):
        await Inspector(redis).configure(POOL, SETTINGS)
        return True
    return False


async def _accepts(redis: Any) -> bool:
    with contextlib.suppress(QueueError):
        await Producer(redis, POOL, durability=Durability.LOCAL).submit(JobRequest(kind=KIND, payload="/dev/null"))
        return True
    return False


async def _healed(redis: Any) -> bool:
    with contextlib.suppress(QueueError):
        now = await Inspector(redis).snapshot(POOL)
        if not (now.queued or now.running or now.scheduled or now.blocked):
            return await audit(redis, POOL) == []
    return False


async def _known(redis: Any, ids: list[JobId]) -> int:
    keys = [Keys(POOL).job(job_id) for job_id in ids]
    slices = [keys[start : start + KEYS_A_CALL] for start in range(0, len(keys), KEYS_A_CALL)]
    return sum([int(await ask(redis, "EXISTS", *part)) for part in slices])
