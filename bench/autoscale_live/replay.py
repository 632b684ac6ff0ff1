"""A workload on the real system: Redis, the devcluster, the operator and its workers, as processes on this machine.

Jobs are submitted at the times of the trace. Meanwhile the pool's Deployment and pods are observed, and afterwards each
job's record is read. Times of jobs come from Redis, so no clock here needs precision.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agentpool_core.jobs import JobRequest, JobState, PoolRef
from agentpool_core.kube import paths
from agentpool_core.queue import Inspector, Producer, connect
from agentpool_local.stack.stack import NAMESPACE
from bench.autoscale.simulator import Outcome
from bench.live_system import apply_pool, live_system, tell, worker_spec
from bench.report import CannotRunError

if TYPE_CHECKING:
    from agentpool_core.jobs import Job as Record
    from agentpool_core.jobs import JobId
    from agentpool_local.stack.cluster import Cluster
    from bench.autoscale.jobs import Workload

POOL = PoolRef(NAMESPACE, "replay")
SLOTS, MAX_WORKERS = 5, 20
IMAGE = "agentpool/bench-replay"
LOOK_SECONDS = 0.2  # between looks at the cluster
END_SECONDS = 120.0  # for jobs that were late to end
READS_AT_ONCE = 16  # job records
MS_PER_SECOND = 1000.0


@dataclass(slots=True)
class _Pod:
    """An observed worker."""

    first_s: float
    last_s: float
    ready_s: float | None = None


@dataclass(slots=True)
class _Watch:
    """Observations of the cluster; seconds since the first arrival."""

    pods: dict[str, _Pod] = field(default_factory=dict)
    sizes: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])

    def see(self, now: float, replicas: int, pods: list[dict]) -> None:
        """Record an observation."""
        if replicas != self.sizes[-1][1]:
            self.sizes.append((now, replicas))
        for pod in pods:
            seen = self.pods.setdefault(pod["metadata"]["uid"], _Pod(first_s=now, last_s=now))
            seen.last_s = now
            conditions = (pod.get("status") or {}).get("conditions") or []
            if seen.ready_s is None and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                seen.ready_s = now


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """Result of the replay."""

    waits_s: list[float]  # of each job, in order of arrival
    worker_s: float
    sizes: list[tuple[float, int]]  # time of each change, and the new size
    startups_s: tuple[float, ...]  # of each worker, from creation to ready
    ran_once: int  # jobs that succeeded at their first attempt

    def as_outcome(self) -> Outcome:
        """Return the result in the form of the simulator."""
        return Outcome(
            waits_s=self.waits_s,
            worker_hours=self.worker_s / 3600.0,
            changes=len(self.sizes) - 1,
            harmed=0,  # not observed here: an interrupted job did not run once to the end
            killed=len(self.waits_s) - self.ran_once,
            sizes=self.sizes,
        )


async def replayed(load: Workload, *, quiet_s: float, stretch_s: float) -> Happened:
    """Run a workload. Raises CannotRunError if the system cannot be started here."""
    async with live_system(POOL, IMAGE, Path(__file__).parent) as (cluster, redis_url):
        redis = connect(redis_url)
        try:
            await _applied(cluster, stretch_s)
            watch, began = _Watch(), time.monotonic()
            looking = asyncio.create_task(_look(cluster, watch, began))
            jobs = await _submitted(Producer(redis, POOL), load, began)
            await asyncio.sleep(max(0.0, began + load.span_s + quiet_s - time.monotonic()))
            looking.cancel()
            records = await _records(Inspector(redis), jobs)
        finally:
            await redis.aclose()
    end_s = load.span_s + quiet_s
    return Happened(
        waits_s=[_wait_s(record) for record in records],
        worker_s=sum(min(pod.last_s, end_s) - pod.first_s for pod in watch.pods.values()),
        sizes=watch.sizes,
        startups_s=tuple(pod.ready_s - pod.first_s for pod in watch.pods.values() if pod.ready_s is not None),
        ran_once=sum(record.state is JobState.SUCCEEDED and record.attempt == 1 for record in records),
    )


async def _applied(cluster: Cluster, stretch_s: float) -> None:
    """Apply the pool, with the defaults of its kind except slots and workers."""
    environment = [{"name": "REPLAY_STRETCH_SECONDS", "value": str(stretch_s)}]
    spec = {
        "handler": {"python": {"app": "worker_app:app"}},
        "worker": worker_spec(IMAGE, concurrency=SLOTS, env=environment),
        "scaling": {"maxReplicas": MAX_WORKERS},
    }
    await apply_pool(cluster, POOL, spec)


async def _look(cluster: Cluster, watch: _Watch, began: float) -> None:
    while True:
        deployment = await cluster.read(paths.deployments(POOL.namespace, POOL.name))
        pods = await cluster.list(paths.pods(POOL.namespace), labelSelector=f"agentpool.dev/pool={POOL.name}")
        replicas = int((deployment or {}).get("spec", {}).get("replicas", 0))
        watch.see(time.monotonic() - began, replicas, pods)
        await asyncio.sleep(LOOK_SECONDS)


async def _submitted(producer: Producer, load: Workload, began: float) -> list[JobId]:
    """Submit each job at its time; return the ids."""
    tell(f"{load.name}: {len(load.jobs)} jobs in {load.span_s:.0f} s")
    ids: list[JobId] = []
    for job in load.jobs:
        await asyncio.sleep(max(0.0, began + job.at - time.monotonic()))
        ids.append((await producer.submit(JobRequest(kind="request", payload=job.service_s))).job_id)
    return ids


async def _records(inspector: Inspector, jobs: list[JobId]) -> list[Record]:
    """Return all records, once every job has ended."""
    limit = asyncio.Semaphore(READS_AT_ONCE)
    deadline = time.monotonic() + END_SECONDS
    while (await inspector.snapshot(POOL)).finished_total < len(jobs):
        if time.monotonic() > deadline:
            raise CannotRunError(f"jobs had not ended {END_SECONDS:g} s after the replay")
        await asyncio.sleep(LOOK_SECONDS)

    async def read(job_id: JobId) -> Record:
        async with limit:
            return await inspector.job(POOL, job_id)

    return await asyncio.gather(*(read(job_id) for job_id in jobs))


def _wait_s(record: Record) -> float:
    if record.claimed_at_ms is None:
        raise RuntimeError(f"job {record.job_id} ended without having run")
    return (record.claimed_at_ms - record.submitted_at_ms) / MS_PER_SECOND
