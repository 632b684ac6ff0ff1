"""The raw limit: the same Redis commands in the tightest asyncio loop, which keeps no job state at all."""

from __future__ import annotations

import asyncio
import time

import redis.asyncio

from bench.queue.contender import Figures, contender_main, server_us

BATCH = 100  # jobs a round trip
SLOTS = 10  # of the mixed measure
SHORT_SECONDS, LONG_SECONDS, LONG_EACH = 0.01, 1.0, 10
STREAM, GROUP = "raw", "g"


async def _prepared(url: str) -> redis.asyncio.Redis:
    client = redis.asyncio.Redis.from_url(url, socket_timeout=30, decode_responses=True)
    await client.flushall()
    await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    return client


async def _fill(client: redis.asyncio.Redis, jobs: int) -> float:
    began = time.perf_counter()
    for first in range(0, jobs, BATCH):
        async with client.pipeline(transaction=False) as pipeline:
            for number in range(first, min(first + BATCH, jobs)):
                pipeline.xadd(STREAM, {"payload": f'{{"n":{number}}}'})
            await pipeline.execute()
    return time.perf_counter() - began


async def _noop() -> None:
    return None


async def _end(client: redis.asyncio.Redis, ids: list[str]) -> None:
    async with client.pipeline(transaction=False) as pipeline:
        pipeline.xack(STREAM, GROUP, *ids)
        pipeline.xdel(STREAM, *ids)
        await pipeline.execute()


async def throughput(url: str, jobs: int) -> Figures:
    """Bulk and single adds, and the drain of all of them."""
    client = await _prepared(url)
    bulk_s = await _fill(client, jobs)
    done = 0
    before = await server_us(client)
    began = time.perf_counter()
    while done < jobs:
        reply = await client.xreadgroup(GROUP, "w", {STREAM: ">"}, count=BATCH)
        ids = [entry[0] for entry in reply[0][1]]
        await asyncio.gather(*(asyncio.create_task(_noop()) for _ in ids))
        await _end(client, ids)
        done += len(ids)
    drain_s = time.perf_counter() - began
    spent_us = await server_us(client) - before
    singles = jobs // 10
    began = time.perf_counter()
    for number in range(singles):
        await client.xadd(STREAM, {"payload": f'{{"n":{number}}}'})
    each_s = time.perf_counter() - began
    await client.aclose()
    return {
        "drain jobs/s": jobs / drain_s,
        "drain server us/job": spent_us / jobs,
        "bulk jobs/s": jobs / bulk_s,
        "one by one jobs/s": singles / each_s,
    }


async def mixed(url: str, jobs: int) -> Figures:
    """Return the time to run jobs of 10 ms, each tenth of 1 s, in 10 slots."""
    client = await _prepared(url)
    await _fill(client, jobs)
    slots = asyncio.Semaphore(SLOTS)
    running: set[asyncio.Task[None]] = set()

    async def work(entry: str, number: int) -> None:
        try:
            await asyncio.sleep(LONG_SECONDS if number % LONG_EACH == 0 else SHORT_SECONDS)
            await _end(client, [entry])
        finally:
            slots.release()

    began = time.perf_counter()
    for _ in range(jobs):
        await slots.acquire()
        reply = await client.xreadgroup(GROUP, "w", {STREAM: ">"}, count=1)
        entry, fields = reply[0][1][0]
        task = asyncio.create_task(work(entry, int(fields["payload"][5:-1])))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    makespan_s = time.perf_counter() - began
    await client.aclose()
    return {"mixed makespan s": makespan_s}


if __name__ == "__main__":
    contender_main({"throughput": throughput, "mixed": mixed})
