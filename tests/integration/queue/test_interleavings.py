"""Two processes act on the same job at once, many times: exactly one process gets the job, in any order."""

from __future__ import annotations

import asyncio
import os
import sys

from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_core.queue.completions import CancelOutcome
from tests.fixtures.redis import wait_until

ROUNDS = int(os.environ.get("AGENTPOOL_INTERLEAVINGS", "1000"))
RIVAL = """
import asyncio, sys
from agentpool_core.jobs import PoolRef, WorkerId
from agentpool_core.queue import Consumer, Producer, connect
from agentpool_core.queue.completions import Succeeded

async def main(url, pool, name):
    redis = connect(url)
    pool = PoolRef.parse(pool)
    consumer, producer = Consumer(redis, pool, WorkerId(name)), Producer(redis, pool)
    await consumer.register(slots=4, host="h")
    applied = 0
    while True:
        leases = await consumer.claim(3)
        for lease in leases[1::2]:
            await producer.cancel(lease.job_id)
        ends = [Succeeded(job_id=lease.job_id, token=lease.token, result=name) for lease in leases]
        first, _ = await asyncio.gather(consumer.settle(ends), consumer.settle(ends))
        applied += sum(outcome == "applied" for outcome in first)
        if not leases:
            break
    print(applied)
    await redis.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3]))
"""


async def chase(redis, pool):
    """Cancel the rivals' current and future jobs until none is left; return the outcomes."""
    inspector, producer = Inspector(redis), Producer(redis, pool)
    outcomes: list[CancelOutcome] = []

    async def begun():
        return (await inspector.snapshot(pool)).started_total

    await wait_until(begun, "a rival has claimed")
    while True:
        running = await inspector.jobs(pool, JobState.RUNNING, limit=6)
        queued = await inspector.jobs(pool, JobState.QUEUED, limit=2)
        if not running and not queued:
            return outcomes
        outcomes += await asyncio.gather(*(producer.cancel(job.job_id) for job in (*queued, *running)))


async def test_two_processes_never_end_a_job_twice(redis, redis_url, pool):
    """Claims, double settles, cancels by the holder and by a third process.

    Every job ends once, and the counters agree.
    """
    await Inspector(redis).configure(pool, PoolSettings(max_depth=10 * ROUNDS))
    await Producer(redis, pool).submit_many([JobRequest(kind="x", payload=n) for n in range(ROUNDS)])
    command = [sys.executable, "-c", RIVAL, redis_url, str(pool)]
    rivals = [
        await asyncio.create_subprocess_exec(*command, name, stdout=asyncio.subprocess.PIPE) for name in ("a", "b")
    ]
    cancelled = (await chase(redis, pool)).count(CancelOutcome.CANCELLED)
    applied = sum([int((await rival.communicate())[0]) for rival in rivals])
    assert applied + cancelled == ROUNDS
    snapshot = await Inspector(redis).snapshot(pool)
    assert (snapshot.started_total, snapshot.finished_total) == (applied, ROUNDS)
    assert (snapshot.queued, snapshot.running, snapshot.dead) == (0, 0, 0)
    (group,) = await redis.xinfo_groups(f"ap:{{{pool}}}:s:default:task")
    assert (group.get("lag", 0), group["pending"]) == (0, 0)  # Redis 6.2 reports no lag
