"""Memory of a queued job, beside a bare stream entry, and the cost of a claim as the queue grows.

A claim's cost is the server's own time for the script, which excludes the network. The pools of all depths live on a
server and take turns: noise affects all of them.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

from agentpool_core.jobs import JobRequest, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, connect
from bench.queue.contender import Figures, contender_main

if TYPE_CHECKING:
    from agentpool_core.queue.connection.client import RedisClient

BODY = "x" * 198  # 200 bytes as JSON
SLICE = 10_000  # jobs submitted at a time: bounds this process's memory
CLAIM = 10  # jobs a claim
CLAIMS = 100  # at each depth
SMALLEST = 1_000
POOL = PoolRef("bench", "size")


async def _fill(redis: RedisClient, pool: PoolRef, jobs: int) -> None:
    await Inspector(redis).configure(pool, PoolSettings(max_depth=2 * jobs))
    producer = Producer(redis, pool)
    for first in range(0, jobs, SLICE):
        await producer.submit_many([JobRequest(kind="noop", payload=BODY)] * min(SLICE, jobs - first))


async def _memory(redis: RedisClient) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def memory(url: str, jobs: int) -> Figures:
    """Return the bytes of memory for each queued job: ours with record, counters and events, and a bare stream's."""
    redis = connect(url)
    empty = await _memory(redis)
    for first in range(0, jobs, SLICE):
        async with redis.pipeline(transaction=False) as pipeline:
            for _ in range(min(SLICE, jobs - first)):
                pipeline.xadd("bare", {"payload": f'"{BODY}"'})
            await pipeline.execute()
    bare = await _memory(redis)
    await _fill(redis, POOL, jobs)
    ours = await _memory(redis)
    await redis.aclose()
    return {"queued job bytes": (ours - bare) / jobs, "bare stream entry bytes": (bare - empty) / jobs}


async def _script_us(redis: RedisClient) -> float:
    stats = (await redis.info("commandstats")).get("cmdstat_evalsha", {})
    return float(stats.get("usec", 0))


async def claims(url: str, jobs: int) -> Figures:
    """Return the server's microseconds for each claimed job, by the depth of the queue: 10³, 10⁴, … up to `jobs`."""
    redis = connect(url)
    consumers: dict[int, Consumer] = {}
    depth = SMALLEST
    while depth <= jobs:
        pool = PoolRef("bench", f"depth-{depth}")
        await _fill(redis, pool, depth)
        consumers[depth] = Consumer(redis, pool, WorkerId("w"))
        depth *= 10
    costs: dict[int, list[float]] = {depth: [] for depth in consumers}
    for turn in range(CLAIMS):
        for depth, consumer in consumers.items():
            if turn == 0:
                await consumer.register(slots=CLAIM, host="h")
            await consumer.renew(slots=CLAIM, running=0)
            before = await _script_us(redis)
            leases = await consumer.claim(CLAIM)
            costs[depth].append((await _script_us(redis) - before) / len(leases))
            await asyncio.sleep(0)
    await redis.aclose()
    return {f"claim of {depth:,} queued us": statistics.median(found[1:]) for depth, found in costs.items()}


if __name__ == "__main__":
    contender_main({"memory": memory, "claims": claims})
