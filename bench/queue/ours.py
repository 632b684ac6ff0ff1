"""AgentPool's figures: the worker (leases, fencing, events, counters, metrics), and the client's submit."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from agentpool_core.client import Client, request_of
from agentpool_core.jobs import PoolRef, WorkerId
from agentpool_core.queue import Inspector, PoolSettings, connect
from agentpool_worker.handlers.app import App
from agentpool_worker.settings import WorkerSettings
from agentpool_worker.worker import Worker
from bench.queue.contender import Figures, contender_main, count_done, server_us

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SLOTS = 100
MIXED_SLOTS = 10
SHORT_SECONDS, LONG_SECONDS, LONG_EACH = 0.01, 1.0, 10
POLL_SECONDS = 0.002
POOL = PoolRef("bench", "ours")

app = App()


@app.handler("noop")
async def noop(_payload: object) -> None:
    """Do nothing."""


@app.handler("sleep")
async def sleep(payload: int) -> None:
    """Sleep 10 ms, each tenth 1 s."""
    await asyncio.sleep(LONG_SECONDS if payload % LONG_EACH == 0 else SHORT_SECONDS)


class Bench:
    """A pool with a registered idle worker that must not claim before the start signal."""

    def __init__(self, url: str, *, slots: int, jobs: int) -> None:
        self.redis = connect(url)
        self.inspector = Inspector(self.redis)
        self.client = Client(self.redis, pool=POOL)
        self._free = PoolSettings(concurrency=slots, max_depth=jobs * 2)
        self._held = PoolSettings(concurrency=slots, max_depth=jobs * 2, paused=True)
        settings = WorkerSettings(redis_url=url, pool=POOL, worker=WorkerId("w"), http_host="127.0.0.1", http_port=0)
        self._worker = Worker(app, settings)

    async def hold(self) -> None:
        """An empty pool that takes jobs and gives none."""
        await self.redis.flushall()
        await self.inspector.configure(POOL, self._held)

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """The worker's life."""
        life = asyncio.create_task(self._worker.run())
        while not (await self.inspector.snapshot(POOL)).workers:  # noqa: ASYNC110  # another process's state
            await asyncio.sleep(POLL_SECONDS)
        yield
        self._worker.leave()
        await life
        await self.client.close()
        await self.redis.aclose()

    async def drained_s(self, jobs: int) -> float:
        """Let the worker begin; return the time until all jobs have succeeded."""
        began = time.perf_counter()
        await self.inspector.configure(POOL, self._free)
        while (snapshot := await self.inspector.snapshot(POOL)).finished_total < jobs:  # noqa: ASYNC110  # another process's state
            await asyncio.sleep(POLL_SECONDS)
        took = time.perf_counter() - began
        if snapshot.started_total != jobs or snapshot.dead:
            raise AssertionError(f"{snapshot.started_total} attempts, {snapshot.dead} dead of {jobs} jobs")
        return took


async def throughput(url: str, jobs: int) -> Figures:
    """Bulk and single submits, and the drain of all of them."""
    bench = Bench(url, slots=SLOTS, jobs=jobs)
    await bench.hold()
    requests = [request_of("noop", {"n": number}) for number in range(jobs)]
    began = time.perf_counter()
    await bench.client.submit_many(requests)
    bulk_s = time.perf_counter() - began
    singles = jobs // 10
    began = time.perf_counter()
    for number in range(singles):
        await bench.client.submit("noop", {"n": number})
    each_s = time.perf_counter() - began
    async with bench.ready():
        before = await server_us(bench.redis)
        drain_s = await bench.drained_s(jobs + singles)
        spent_us = await server_us(bench.redis) - before
    return {
        "drain jobs/s": (jobs + singles) / drain_s,
        "drain server us/job": spent_us / (jobs + singles),
        "bulk jobs/s": jobs / bulk_s,
        "one by one jobs/s": singles / each_s,
    }


async def mixed(url: str, jobs: int) -> Figures:
    """Return the time to run jobs of 10 ms, each tenth of 1 s, in 10 slots."""
    bench = Bench(url, slots=MIXED_SLOTS, jobs=jobs)
    await bench.hold()
    async with bench.ready():
        await bench.client.submit_many([request_of("sleep", number) for number in range(jobs)])
        return {"mixed makespan s": await bench.drained_s(jobs)}


async def fill(url: str, jobs: int) -> Figures:
    """Submit the jobs of the bench of scale."""
    bench = Bench(url, slots=SLOTS, jobs=jobs)
    await bench.inspector.configure(POOL, PoolSettings(concurrency=SLOTS, max_depth=jobs * 2))
    await bench.client.submit_many([request_of("noop", {"n": number}) for number in range(jobs)])
    return {}


async def drain(url: str, number: int) -> Figures:
    """Work until killed, as one of several processes."""
    ended = 0
    counted = App()

    @counted.handler("noop")
    async def noop(_payload: object) -> None:
        nonlocal ended
        ended += 1

    settings = WorkerSettings(
        redis_url=url, pool=POOL, worker=WorkerId(f"w{number}"), http_host="127.0.0.1", http_port=0
    )
    await asyncio.gather(Worker(counted, settings).run(), count_done(url, lambda: ended))
    return {}


if __name__ == "__main__":
    contender_main({"throughput": throughput, "mixed": mixed, "fill": fill, "drain": drain})
