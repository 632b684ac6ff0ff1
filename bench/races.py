"""Two workers on a queue: a status that is read and then written, or an atomic claim.

Before: each worker looks for a job with the status `queued`, then writes `running`, as two calls; a worker that looks
in between runs the job too. A worker is stopped in the middle, like a daemon thread at exit: its jobs stay `running`
for ever. After: the queue's claim, and a worker stopped the same way; its jobs come back when its lease ends.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, PoolSettings
from agentpool_core.queue.completions import Succeeded
from bench.report import Figure, Report
from bench.stage import POOL, stage

if TYPE_CHECKING:
    from agentpool_core.queue.connection.client import RedisClient
    from bench.stage import Stage

NAME = "races"
JOBS = 300
BATCH = 5  # jobs that a worker has at once
STOP_AFTER = 60  # jobs: then a worker is stopped with an unfinished batch
ROUNDS = 5
LEASE_MS = 2_000


async def run() -> Report:
    """Run both versions alternately."""
    before, after = [], []
    async with stage(PoolSettings(lease_ms=LEASE_MS)) as place:
        for _ in range(ROUNDS):
            before.append(await _read_then_write(place.redis))
            after.append(await _claimed(place))
    figures = {
        f"{name}: {what}": Figure(unit=f"of {JOBS}", runs=tuple(float(run[place]) for run in runs))
        for name, runs in (("status read, then written", before), ("atomic claim", after))
        for place, what in enumerate(("run twice", "never ended"))
    }
    return Report(
        name=NAME,
        figures=figures,
        ratios={
            "jobs run once / jobs": min(1 - twice / JOBS for twice, _ in after),
            "jobs ended / jobs": min(1 - left / JOBS for _, left in after),
            "before: jobs run once / jobs": min(1 - twice / JOBS for twice, _ in before),
            "before: jobs ended / jobs": min(1 - left / JOBS for _, left in before),
        },
        required={"jobs run once / jobs": 1.0, "jobs ended / jobs": 1.0},
        notes=[f"two workers, one stopped with up to {BATCH} jobs in its hands; ratios are the worst of all rounds"],
    )


async def _read_then_write(redis: RedisClient) -> tuple[int, int]:
    """Run the former way on the same server; return the jobs that ran twice, and those that never ended."""
    key = "old:status"
    await redis.delete(key)
    await redis.hset(key, mapping={str(number): "queued" for number in range(JOBS)})
    runs: Counter[str] = Counter()

    async def work(stop_after: int | None) -> None:
        while True:
            status = await redis.hgetall(key)
            mine = [job for job, state in status.items() if state == "queued"][:BATCH]
            if not mine:
                return
            for job in mine:
                await redis.hset(key, job, "running")
            if stop_after is not None and sum(runs.values()) >= stop_after:
                return  # as a daemon thread at exit: without notice
            for job in mine:
                runs[job] += 1
                await redis.hset(key, job, "succeeded")

    await asyncio.gather(work(None), work(STOP_AFTER))
    left = Counter((await redis.hgetall(key)).values())["running"]
    await redis.delete(key)
    return sum(count > 1 for count in runs.values()), left


async def _claimed(place: Stage) -> tuple[int, int]:
    """Run the queue's way."""
    await place.inspector.configure(POOL, PoolSettings(lease_ms=LEASE_MS))
    await place.producer.submit_many([JobRequest(kind="work") for _ in range(JOBS)])
    runs: Counter[str] = Counter()

    async def work(name: str, stop_after: int | None) -> None:
        consumer = Consumer(place.redis, POOL, WorkerId(name))
        await consumer.register(slots=BATCH, host="bench")
        while await place.left():
            await consumer.maintain()
            await consumer.renew(slots=BATCH, running=0)
            leases = await consumer.claim(BATCH)
            if stop_after is not None and sum(runs.values()) >= stop_after:
                return  # gone, with its leases
            runs.update(lease.job_id for lease in leases)
            await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token) for lease in leases])
            if not leases:
                await asyncio.sleep(LEASE_MS / 20_000)

    await asyncio.gather(work("a", None), work("b", STOP_AFTER))
    left = await place.left()
    await place.inspector.purge(POOL)
    return sum(count > 1 for count in runs.values()), left
