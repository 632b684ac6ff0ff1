"""AgentPool's figures: the worker as users run it, and the client's submit."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from agentpool_core.client import Client
from agentpool_core.errors import QueueError
from agentpool_core.jobs import PoolRef, WorkerId
from agentpool_core.queue import Inspector, PoolSettings, connect
from agentpool_worker.handlers.app import App
from agentpool_worker.settings import WorkerSettings
from agentpool_worker.worker import Worker

APART_SECONDS = 0.02
POOL = PoolRef("bench", "dispatch")

app = App()
delays: list[float] = []
done = asyncio.Event()


@app.handler("stamp")
async def stamp(payload: list[int]) -> None:
    """Record the dispatch latency of the job."""
    delays.append((time.monotonic_ns() - payload[0]) / 1e6)
    if len(delays) == payload[1]:
        done.set()


async def work(url: str, _jobs: int) -> None:
    """Run the worker until all jobs have come; print the delays."""
    redis = connect(url)
    await Inspector(redis).configure(POOL, PoolSettings(concurrency=10))
    settings = WorkerSettings(redis_url=url, pool=POOL, worker=WorkerId("w"), http_host="127.0.0.1", http_port=0)
    worker = Worker(app, settings)
    life = asyncio.create_task(worker.run())
    await done.wait()
    worker.leave()
    await life
    await redis.aclose()
    print(json.dumps(delays))


async def submit(url: str, jobs: int) -> None:
    """Submit jobs in sequence, once a worker listens."""
    redis = connect(url)
    async with Client(redis, pool=POOL) as client:
        while not await _listening(client):  # noqa: ASYNC110  # another process's state
            await asyncio.sleep(APART_SECONDS)
        await asyncio.sleep(10 * APART_SECONDS)
        for _ in range(jobs):
            await client.submit("stamp", [time.monotonic_ns(), jobs])
            await asyncio.sleep(APART_SECONDS)
    await redis.aclose()


async def _listening(client: Client) -> bool:
    try:
        return bool((await client.queue()).workers)
    except QueueError:
        return False


if __name__ == "__main__":
    uvloop.run({"work": work, "submit": submit}[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
