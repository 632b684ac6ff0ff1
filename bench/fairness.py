"""Fair shares of tenants: the wait of small tenants beside a large one, and the cost of turns.

One tenant of 10,000 sends 99 % of the load before the others send theirs. One consumer drains the queue in batches, as
a worker with 100 slots and no-op jobs does, so the figures are the queue's alone. Costs are the server's own CPU time.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, PoolSettings
from agentpool_core.queue.completions import Succeeded
from bench.queue.contender import server_us
from bench.report import Figure, Report, quick
from bench.stage import POOL, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bench.stage import Stage

NAME = "fairness"
ROUNDS = 5
TENANTS = 10_000
LOAD = 50_000  # jobs, 99 % of them of one tenant
DRAINED = 20_000  # jobs of a measure of cost
AT_ONCE = 500  # jobs in a submit
SLOTS = 100
LEAST = {
    "others alone / others beside the large tenant (p99 wait)": 1 / 1.2,
    "drain with tenants / drain without": 0.95,
    "cost with 1 tenant / cost with 10000 tenants": 0.8,
}


class Queue:
    """A pool on a fresh server, and one consumer."""

    def __init__(self, given: Stage) -> None:
        self.redis: Any = given.redis
        self.inspector, self.producer = given.inspector, given.producer
        self.consumer = Consumer(given.redis, POOL, WorkerId("bench"))

    async def submit(self, tenants: Sequence[str | None]) -> None:
        """Submit a job for each tenant, in this order."""
        requests = [JobRequest(kind="bench", payload=tenant, tenant=tenant) for tenant in tenants]
        for start in range(0, len(requests), AT_ONCE):
            await self.producer.submit_many(requests[start : start + AT_ONCE])

    async def drain(self) -> list[tuple[str | None, float]]:
        """Run all jobs; return the tenant of each and its wait in seconds since the drain began."""
        waits: list[tuple[str | None, float]] = []
        began = time.perf_counter()
        leases = await self.consumer.claim(SLOTS)
        while leases:
            waited = time.perf_counter() - began
            waits += [(lease.payload, waited) for lease in leases]
            done = [Succeeded(job_id=lease.job_id, token=lease.token) for lease in leases]
            _, leases = await self.consumer.exchange(done, SLOTS)
        return waits


async def run() -> Report:
    """All measures, each on a fresh server, in every round."""
    runs: dict[str, list[float]] = defaultdict(list)
    share = 0.1 if quick() else 1.0
    for number in range(1 if quick() else ROUNDS):
        for measure in (_waits, _drains, _costs):
            for name, value in (await measure(random.Random(number), share)).items():  # repeatable
                runs[name].append(value)
    units = {"p99": "ms", "drain": "jobs/s", "cost": "us/job"}
    figures = {name: Figure(unit=units[name.split(" ")[0]], runs=tuple(values)) for name, values in runs.items()}
    median = {name: figure.median for name, figure in figures.items()}
    return Report(
        name=NAME,
        figures=figures,
        ratios=dict(zip(LEAST, _ratios(median), strict=True)),
        required=LEAST,
        notes=[
            f"{LOAD} jobs, 99 % of one tenant, submitted first; the others' are of random tenants of {TENANTS}",
            f"cost: {DRAINED} jobs, spread evenly over the tenants; the server's CPU time of claims and settles",
        ],
    )


def _ratios(median: dict[str, float]) -> tuple[float, float, float]:
    return (
        median["p99 wait of the others, alone"] / median["p99 wait of the others, beside the large tenant"],
        median["drain with tenants"] / median["drain without tenants"],
        median["cost of a job, 1 tenant"] / median[f"cost of a job, {TENANTS} tenants"],
    )


async def _waits(chance: random.Random, share: float) -> dict[str, float]:
    load = int(LOAD * share)
    others = [f"tenant-{chance.randrange(TENANTS)}" for _ in range(load // 100)]
    found = {}
    for words, large in (("alone", 0), ("beside the large tenant", load - len(others))):
        async with _queue() as queue:
            await queue.submit(["large"] * large)
            await queue.submit(others)
            waits = sorted(wait for tenant, wait in await queue.drain() if tenant != "large")
            found[f"p99 wait of the others, {words}"] = waits[int(len(waits) * 0.99)] * 1000
    return found


async def _drains(chance: random.Random, share: float) -> dict[str, float]:
    load = int(LOAD * share)
    mixed = [f"tenant-{chance.randrange(TENANTS)}" if not chance.randrange(100) else "large" for _ in range(load)]
    found = {}
    for words, tenants in (("without", [None] * load), ("with", mixed)):
        async with _queue() as queue:
            await queue.submit(tenants)
            waits = await queue.drain()
            found[f"drain {words} tenants"] = len(waits) / waits[-1][1]
    return found


async def _costs(chance: random.Random, share: float) -> dict[str, float]:
    found = {}
    for count in (1, 100, TENANTS):
        tenants = [f"tenant-{number % count}" for number in range(int(DRAINED * share))]
        chance.shuffle(tenants)
        async with _queue() as queue:
            await queue.submit(tenants)
            before = await server_us(queue.redis)
            drained = len(await queue.drain())
            words = "1 tenant" if count == 1 else f"{count} tenants"
            found[f"cost of a job, {words}"] = (await server_us(queue.redis) - before) / drained
    return found


@contextlib.asynccontextmanager
async def _queue() -> AsyncIterator[Queue]:
    settings = PoolSettings(max_depth=1_000_000)
    async with stage(settings) as given:
        queue = Queue(given)
        await queue.inspector.configure(POOL, settings)
        await queue.consumer.register(slots=SLOTS, host="bench")
        yield queue
