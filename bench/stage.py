"""An environment for measurements: a dedicated Redis, a pool, and real worker processes.

The benchmarks take over next, one module each.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, Producer, connect
from agentpool_local.errors import MissingPartError
from agentpool_local.stack.child import Child
from agentpool_local.stack.redis_server import start_redis
from bench.report import CannotRunError, own_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from agentpool_core.jobs import Job, JobId, JobRequest
    from agentpool_core.queue import PoolSettings
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.snapshots import QueueSnapshot

POOL = PoolRef("bench", "pool")
CHECKOUT = Path(__file__).parents[1]
READY_SECONDS = 30.0
POLL_SECONDS = 0.02


class Stage:
    """A Redis with a pool."""

    def __init__(self, directory: Path, url: str, redis: RedisClient, settings: PoolSettings) -> None:
        self.directory = directory
        self._settings = settings
        self.url = url
        self.redis = redis
        self.inspector = Inspector(redis)
        self.producer = Producer(redis, POOL)
        self.pids: list[int] = []  # of the worker processes

    @contextlib.asynccontextmanager
    async def workers(self, count: int, *flags: str, keep: bool = False) -> AsyncIterator[None]:
        """This many worker processes, registered; they drain at the end, and the queue is purged unless kept."""
        await self.inspector.configure(POOL, self._settings)
        children = [await self._start_worker(number, flags) for number in range(count)]
        self.pids = [child.pid for child in children]
        try:
            await self._until_registered(count)
            yield
        finally:
            await asyncio.gather(*(child.stop(seconds=10) for child in children))
            if not keep:
                await self.inspector.purge(POOL)

    async def run(self, requests: Sequence[JobRequest]) -> list[Job]:
        """Submit all at once, wait until all have ended, and return their records."""
        receipts = await self.producer.submit_many(requests)
        while (depth := await self.left()) > 0:  # noqa: ASYNC110 - nothing here could be awaited
            await asyncio.sleep(min(POLL_SECONDS, 0.001 * depth))
        return [await self.record(receipt.job_id) for receipt in receipts]

    async def record(self, job_id: JobId) -> Job:
        """Return a job's record."""
        return await self.inspector.job(POOL, job_id)

    async def left(self) -> int:
        """Return the number of jobs that have not ended."""
        snapshot = await self._snapshot()
        return snapshot.queued + snapshot.held + snapshot.running + snapshot.scheduled + snapshot.blocked

    async def finished(self) -> int:
        """Return the number of jobs that have ended since the pool began."""
        return (await self._snapshot()).finished_total

    async def _snapshot(self) -> QueueSnapshot:
        snapshot = (await self.inspector.snapshots([POOL]))[POOL]
        if isinstance(snapshot, Exception):
            raise snapshot
        return snapshot

    async def _start_worker(self, number: int, flags: Sequence[str]) -> Child:
        argv = [sys.executable, "-m", "agentpool_core", "worker", "bench.handlers:app", "--redis", self.url]
        argv += ["--pool", str(POOL), "--http-host", "127.0.0.1", "--http-port", "0", "--log-level", "warning", *flags]
        environment = {"PYTHONPATH": str(CHECKOUT)}
        return await Child.start(f"worker-{number}", argv, cwd=self.directory, sink=_say, environment=environment)

    async def _until_registered(self, count: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while len(await self.inspector.workers(POOL)) < count:
            if time.monotonic() > deadline:
                raise CannotRunError(f"{count} workers did not register within {READY_SECONDS:g} s")
            await asyncio.sleep(POLL_SECONDS)


@contextlib.asynccontextmanager
async def stage(settings: PoolSettings) -> AsyncIterator[Stage]:
    """Create an environment for a benchmark. Raises CannotRunError without a Redis server."""
    with tempfile.TemporaryDirectory(prefix="agentpool-bench-") as name:
        directory = Path(name)
        try:
            server = await start_redis(directory, _say, binary=own_server())
        except MissingPartError as error:
            raise CannotRunError(str(error)) from error
        redis = connect(server.url)
        try:
            yield Stage(directory, server.url, redis, settings)
        finally:
            await redis.aclose()
            await server.child.stop(seconds=5)


def _say(name: str, line: str) -> None:
    """Children are quiet unless something is wrong."""
    if name != "redis":
        print(f"{name}: {line}", file=sys.stderr)
