"""The price of a confirmation: submits one by one, in a call, and from many submitters at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from agentpool_core.jobs import Durability, JobRequest
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect
from bench.durability.trial import POOL

if TYPE_CHECKING:
    from collections.abc import Awaitable

JOBS_A_CALL = 500
AT_ONCE = 64
JOB = JobRequest(kind="x", payload="p")


async def measure_cost(url: str, durability: Durability, *, rounds: int) -> dict[str, float]:
    """Return the median latency of a submit in ms, and the jobs a second of two ways to submit many."""
    async with connect(url) as redis:
        await Inspector(redis).configure(POOL, PoolSettings())
        producer = Producer(redis, POOL, durability=durability)
        await producer.submit(JOB)
        single = [await _seconds(producer.submit(JOB)) for _ in range(rounds)]
        many = [await _seconds(producer.submit_many([JOB] * JOBS_A_CALL)) for _ in range(rounds)]
        at_once = [
            await _seconds(asyncio.gather(*(producer.submit(JOB) for _ in range(AT_ONCE)))) for _ in range(rounds)
        ]
    return {
        "submit ms": statistics.median(single) * 1000,
        f"calls of {JOBS_A_CALL} jobs/s": JOBS_A_CALL / statistics.median(many),
        f"{AT_ONCE} at once jobs/s": AT_ONCE / statistics.median(at_once),
    }


async def _seconds(call: Awaitable[object]) -> float:
    began = time.perf_counter()
    await call
    return time.perf_counter() - began
