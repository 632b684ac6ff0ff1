"""Scale-in with real pods while jobs arrive: every job runs once, from start to end, on one worker."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time

from agentpool_core.jobs import JobRequest, PoolRef
from agentpool_core.kube import paths
from agentpool_core.queue import Inspector, Producer
from tests.fixtures.redis import wait_until

STORM_SECONDS = float(os.environ.get("AGENTPOOL_STORM_SECONDS", "8"))
WITHIN_SECONDS = 60.0
SCALING = {
    "pollSeconds": 1,
    "idleSeconds": 0,
    "maxReplicas": 3,
    "targetWaitSeconds": 1,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
}


async def test_no_job_is_interrupted_by_scaling_in_while_jobs_arrive(
    start_operator, pool_of, look, redis, namespace, cluster
):
    """Bursts arrive at every moment of the scale-in; none of their jobs is requeued, recovered or run twice."""
    start_operator()
    await pool_of(
        handler={"command": {"argv": ["sh", "-c", "sleep 0.3; echo 1"]}},
        worker={"concurrency": 2, "template": {"spec": {"containers": [{"name": "worker", "image": "any"}]}}},
        scaling=SCALING,
    )

    async def serving():
        return await look.condition("Ready") == ("True", "Serving")

    await wait_until(serving, "the pool serves", within_s=WITHIN_SECONDS)
    pool = PoolRef(namespace, "agents")
    producer, inspector = Producer(redis, pool), Inspector(redis)
    sizes = []
    submitted, begin = 0, time.monotonic()
    while time.monotonic() - begin < STORM_SECONDS or not _fell(sizes):
        assert time.monotonic() - begin < STORM_SECONDS + WITHIN_SECONDS, f"the size never fell: {sizes}"
        count = random.choice((0, 0, 0, 1, 1, 6))
        await producer.submit_many([JobRequest(kind="k", payload=n) for n in range(count)])
        submitted += count
        sizes.append(await look.replicas() or 0)
        await asyncio.sleep(random.uniform(0.1, 3.0) if count == 6 else random.uniform(0.1, 0.6))

    async def all_ended():
        return (await inspector.snapshot(pool)).finished_total == submitted

    await wait_until(all_ended, "every job ended", within_s=WITHIN_SECONDS)

    async def empty():
        return await look.replicas() == 0

    await wait_until(empty, "the workers went", within_s=WITHIN_SECONDS)
    types = [event.type for event in await inspector.events(pool, limit=10_000)]
    assert set(types) == {"queued", "started", "succeeded"}
    assert types.count("started") == types.count("succeeded") == submitted
    await cluster.delete(paths.agentpools(namespace, "agents"))
    await inspector.purge(pool)


def _fell(sizes):
    return sum(1 for before, after in itertools.pairwise(sizes) if after < before) >= 2
