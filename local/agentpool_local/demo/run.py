"""A run of the demo on a running system: apply the pool, submit, follow to the end, collect.

Follows two sources at once: the pool's event stream, counted by `tally`, and snapshots of the queue and the cluster for
the screen. `session` starts the system before and writes the report after.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from agentpool_core.jobs import JobRequest
from agentpool_core.kube import paths
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.producer import Producer
from agentpool_local.demo.dispatch import DispatchClock, percentile
from agentpool_local.demo.execution_record import ExecutionRecord
from agentpool_local.demo.figures import DemoFigures, View
from agentpool_local.demo.tally import Tally
from agentpool_local.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agentpool_core.jobs import Job, JobId, PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_local.demo.corpus import Document
    from agentpool_local.stack.cluster import Cluster, PoolState

READY_SECONDS = 30.0  # for the operator to take up the pool
STALLED_SECONDS = 120.0  # without a single job's end; the example's longest job takes a second or two
SCALE_IN_SECONDS = 60.0  # for the last worker to go once everything is done
LOOK_SECONDS = 0.2
READS_AT_ONCE = 16  # job records
EVENTS_A_READ = 1000


class DemoRun:
    """The run. `figures` is complete once `fall` has returned."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        redis: RedisClient,
        pool: PoolRef,
        record: Path,
        show: Callable[[View], None],
    ) -> None:
        self._cluster = cluster
        self._inspector = Inspector(redis)
        self._producer = Producer(redis, pool)
        self._pool = pool
        self._record_directory = record
        self._record = ExecutionRecord(record)
        self._show = show
        self._documents: dict[JobId, Document] = {}
        self._began = time.monotonic()
        self._event = "0"  # the last event read
        self._peak = 0
        self._devices = 0
        self._tally = Tally(DispatchClock({}, 1), self._record)

    async def apply(self, manifest: Mapping[str, Any]) -> None:
        """Apply the pool and wait until the pool is served. Raises ClusterError or NotReadyError."""
        await self._cluster.apply(paths.agentpools(self._pool.namespace, self._pool.name), manifest)
        deadline = time.monotonic() + READY_SECONDS
        state: PoolState | None = None
        while state is None or not state.ready:
            state = await self._cluster.pool(self._pool)
            if time.monotonic() > deadline:
                why = state.reason if state and state.reason else "no operator serves the pool"
                raise NotReadyError(f"pool {self._pool}", READY_SECONDS, why)
            await asyncio.sleep(LOOK_SECONDS / 4)
        settings = await self._inspector.settings(self._pool)
        snapshot = await self._inspector.snapshot(self._pool)
        limits = {route.name: route.limit for route in snapshot.routes}
        await self._read_events()  # those of earlier runs of the pool are none of ours
        self._tally = Tally(DispatchClock(limits, settings.concurrency), self._record)
        self._devices = await self._cluster.devices()

    async def submit(self, root: Path, documents: Sequence[Document]) -> None:
        """Submit a job for each file. Raises QueueError."""
        where = {"root": str(root), "record": str(self._record_directory)}
        self._began = time.monotonic()
        receipts = await self._producer.submit_many(
            [
                JobRequest(kind=each.kind, payload={**where, "path": each.path}, priority=each.priority)
                for each in documents
            ]
        )
        self._documents = dict(zip((receipt.job_id for receipt in receipts), documents, strict=True))
        self._tally.expect(self._documents.keys())

    async def follow(self) -> None:
        """Show the run until every job has ended. Raises NotReadyError if no job ends for long."""
        ended, moved_at = -1, time.monotonic()
        while not self._tally.done:
            view = await self._look()
            if view.ended != ended:
                ended, moved_at = view.ended, time.monotonic()
            if time.monotonic() - moved_at > STALLED_SECONDS:
                missing = (
                    f"{view.submitted - ended} jobs wait and none has ended; {view.pool.ready_replicas} workers ready"
                )
                raise NotReadyError(f"pool {self._pool}", STALLED_SECONDS, missing)
            await asyncio.sleep(LOOK_SECONDS)

    async def wait_for_scale_in(self) -> int:
        """Show the scale-in; return the number of workers left when all are gone or the time is up."""
        deadline = time.monotonic() + SCALE_IN_SECONDS
        while True:
            view = await self._look()
            if view.pool.replicas == 0 or time.monotonic() > deadline:
                return view.pool.replicas
            await asyncio.sleep(LOOK_SECONDS)

    async def results(self) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
        """Return the agents' findings, and the error of each file that has none."""
        limit = asyncio.Semaphore(READS_AT_ONCE)

        async def read(job_id: JobId) -> Job:
            async with limit:
                return await self._inspector.job(self._pool, job_id)

        jobs = await asyncio.gather(*(read(job_id) for job_id in self._documents))
        findings = [job.result for job in jobs if job.result is not None]
        return findings, {
            self._documents[job.job_id].path: job.error or job.reason or job.state.value
            for job in jobs
            if job.result is None
        }

    def figures(self, *, final_replicas: int, seconds: float) -> DemoFigures:
        """Return the measurements."""
        delays = self._tally.delays_ms()
        return DemoFigures(
            submitted=self._tally.expected,
            succeeded=self._tally.succeeded,
            failed=self._tally.failed,
            duplicates=self._tally.duplicates,
            peak_replicas=self._peak,
            final_replicas=final_replicas,
            dispatch_p50_ms=_tenths(percentile(delays, 0.50)),
            dispatch_p99_ms=_tenths(percentile(delays, 0.99)),
            seconds=round(seconds, 1),
        )

    async def _look(self) -> View:
        await self._read_events()
        queue = await self._inspector.snapshot(self._pool)
        self._tally.retire({worker.name for worker in queue.workers})
        state = await self._cluster.pool(self._pool)
        if state is None:
            raise NotReadyError(f"pool {self._pool}", 0, "deleted during the demo")
        self._peak = max(self._peak, state.ready_replicas)
        delays = self._tally.delays_ms()
        view = View(
            seconds=time.monotonic() - self._began,
            queue=queue,
            pool=state,
            devices=self._devices,
            submitted=self._tally.expected,
            succeeded=self._tally.succeeded,
            failed=self._tally.failed,
            dispatch_p50_ms=percentile(delays, 0.50),
            dispatch_p99_ms=percentile(delays, 0.99),
        )
        self._show(view)
        return view

    async def _read_events(self) -> None:
        while events := await self._inspector.events(self._pool, after=self._event, limit=EVENTS_A_READ):
            self._tally.feed(events)
            self._event = events[-1].id
            if len(events) < EVENTS_A_READ:
                return


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
