"""Scale-in against a real queue while jobs arrive: no worker that a ReplicaSet removes holds a job, then or later.

The test plays the controllers in the ReplicaSet's published order (unready first, then the lower deletion cost, then
the youngest), so hundreds of races fit into a second. `live/` has the same test with real pods.
"""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace

import pytest

from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer
from agentpool_core.queue.completions import Succeeded
from agentpool_operator.pools.views import GOING_COST, DeploymentView, PodView
from agentpool_operator.queue.reader import backlog_of
from agentpool_operator.scale_loop.scale_in import ScaleIn
from agentpool_operator.scaling.decision import Cap, Decision, Mode
from agentpool_operator.scaling.memory import PoolMemory

WORKERS, SLOTS, ROUNDS = 5, 2, 60


def view(name, *, ready, cost=0):
    return PodView(
        name=name, uid=name, node="n", created_at=0.0, ready=ready, startup_s=1.0 if ready else None, terminating=False,
        ended=False, trouble="", trouble_message="", deletion_cost=cost,
    )  # fmt: skip


def sized(replicas):
    return DeploymentView(
        uid="d", owner_uid="u", generation=1, resource_version="1", replicas=replicas, observed_generation=1,
        total=replicas, updated=replicas, ready=replicas, failures=(),
        appliers_of_replicas=frozenset(), changed_by_others="", last_foreign_manager="", paused=False, raw={},
    )  # fmt: skip


class Controllers:
    """Replaces `Scaler`: marks pods, and removes pods at a lower size as a ReplicaSet does."""

    def __init__(self, pool, taken):
        self._pool = pool
        self._taken = taken

    async def set_deletion_costs(self, pool, going):
        chosen = {pod.name for pod in going}
        for name in list(pool.pods):
            pool.pods[name] = view(name, ready=pool.pods[name].ready, cost=GOING_COST if name in chosen else 0)

    async def scale(self, pool, deployment, replicas):
        await asyncio.sleep(random.uniform(0, 0.003))  # the time in which the race would be lost
        order = sorted(pool.pods.values(), key=lambda pod: (pod.ready, pod.deletion_cost))
        for pod in order[: deployment.replicas - replicas]:
            await self._taken(pod.name)
        return True


@pytest.fixture
async def fleet(redis, pool):
    """Workers in this process that claim and finish as fast as they can."""
    consumers = {f"w{n}": Consumer(redis, pool, WorkerId(f"w{n}")) for n in range(WORKERS)}
    over = asyncio.Event()

    async def work(name, consumer):
        await consumer.register(slots=SLOTS, host="here")
        while not over.is_set():
            leases = await consumer.claim(SLOTS)
            await asyncio.sleep(random.uniform(0, 0.004))
            if leases:
                await consumer.settle([Succeeded(job_id=x.job_id, token=x.token, result=None) for x in leases])

    tasks = [asyncio.create_task(work(name, consumer)) for name, consumer in consumers.items()]
    yield list(consumers)
    over.set()
    await asyncio.gather(*tasks)


async def test_no_worker_with_a_job_is_removed_while_jobs_arrive(redis, pool, fleet):
    """Over many scale-ins under load, each pod that a ReplicaSet removes holds no job."""
    inspector, producer = Inspector(redis), Producer(redis, pool)
    lowered = 0

    async def taken(name):
        nonlocal lowered
        lowered += 1
        (left,) = await inspector_held(redis, pool, name)
        assert left == 0, f"{name} was taken away while it held {left} jobs"

    async def storm():
        while True:
            await producer.submit_many([JobRequest(kind="k", payload=None) for _ in range(random.randint(1, 4))])
            await asyncio.sleep(random.uniform(0, 0.006))

    jobs = asyncio.create_task(storm())
    reader = SimpleNamespace(
        cordon=lambda _pool, names, *, hold_s: inspector.cordon(pool, names, hold_ms=int(1000 * hold_s))
    )
    try:
        for _ in range(ROUNDS):
            known = await seen(inspector, pool, [view(name, ready=random.random() < 0.9) for name in fleet])
            keep = random.randint(1, WORKERS - 1)
            await ScaleIn(Controllers(known, taken), reader).carry_out(known, sized(WORKERS), keeping(keep))
            await asyncio.sleep(0.002)
            await inspector.cordon(pool, [], hold_ms=1000)
    finally:
        jobs.cancel()
    assert lowered > ROUNDS // 4, "the size was lowered often enough to prove something"


async def test_an_unseen_pod_keeps_a_job_claimed_since_the_last_reading(redis, pool):
    """The pod would be removed first and cannot be cordoned, so the queue is read again before the size is lowered."""
    inspector = Inspector(redis)
    known = await seen(inspector, pool, [])
    unseen = Consumer(redis, pool, WorkerId("w0"))
    await unseen.register(slots=1, host="here")
    await Producer(redis, pool).submit_many([JobRequest(kind="k", payload=None)])
    (lease,) = await unseen.claim(1)
    taken = []

    async def read(pools):
        for each in pools:
            each.snapshot = await inspector.snapshot(each.ref)

    async def take(name):
        taken.append(name)

    scale_in = ScaleIn(Controllers(known, take), SimpleNamespace(read=read))
    assert await scale_in.carry_out(known, sized(1), keeping(0)) == 1
    await unseen.settle([Succeeded(job_id=lease.job_id, token=lease.token, result=None)])
    assert await scale_in.carry_out(known, sized(1), keeping(0)) == 0
    assert not taken


async def seen(inspector, pool, pods):
    """Return the operator's view of the pool after a reading."""
    known = SimpleNamespace(pods={pod.name: pod for pod in pods}, live_pods=pods, cordoned=0)
    known.ref, known.snapshot = pool, await inspector.snapshot(pool)
    known.backlog = backlog_of(known.snapshot)
    return known


def keeping(keep):
    return Decision(
        mode=Mode.AUTOMATIC, replicas=keep, keep=keep, wanted=keep, capped_by=Cap.NONE, reason="", memory=PoolMemory()
    )


async def inspector_held(redis, pool, name):
    """Return the worker's jobs by the streams."""
    total = 0
    async for stream in redis.scan_iter(match=f"ap:{{{pool}}}:s:*"):
        total += len(await redis.xpending_range(stream, "pool", "-", "+", 100, name))
    return (total,)
