"""Build the parts of a worker and connect them; no part creates a further part.

Two groups: parts in the jobs' event loop, and parts in the side loop with a connection of their own.
`agentpool_worker.worker` starts and stops them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING

from agentpool_core.jobs import Durability
from agentpool_core.queue.connection.client import connect
from agentpool_core.queue.consumer import Consumer
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.producer import Producer
from agentpool_worker.durable.waits import WaitRules
from agentpool_worker.guards.fitness import Fitness
from agentpool_worker.guards.memory import MemoryGuard, open_memory
from agentpool_worker.jobs.claim_loop import ClaimLoop
from agentpool_worker.jobs.completion_buffer import CompletionBuffer
from agentpool_worker.jobs.drain import Drain
from agentpool_worker.jobs.execution import Stop
from agentpool_worker.jobs.order_listener import OrderListener
from agentpool_worker.jobs.queue_calls import QueueCalls
from agentpool_worker.jobs.running_jobs import RunningJobs
from agentpool_worker.lease.blocked_loop import Surrender
from agentpool_worker.lease.heartbeat import Heartbeat
from agentpool_worker.lease.side_loop import SideLoop
from agentpool_worker.lease.watchdog import Watchdog
from agentpool_worker.maintenance import MaintenanceLoop
from agentpool_worker.settings import VERSION
from agentpool_worker.slots.adaptive import PERIOD_SECONDS, AdaptiveSlots, starting_slots
from agentpool_worker.slots.gpu import memory_for_jobs
from agentpool_worker.slots.semaphore import Slots
from agentpool_worker.slots.server import ServerReader
from agentpool_worker.supervision.exits import RESTART, SICK
from agentpool_worker.supervision.lifeline import follow_supervisor
from agentpool_worker.telemetry.health import HealthServer, Probes
from agentpool_worker.telemetry.metrics import WorkerMetrics

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from agentpool_core.queue.completions import Reconciliation
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.settings import PoolSettings, Route
    from agentpool_worker.handlers import HandlerSet
    from agentpool_worker.settings import WorkerSettings
    from agentpool_worker.slots.gpu import GpuReader
    from agentpool_worker.slots.observation import Change

log = logging.getLogger(__name__)

CLIENT_NAME = "agentpool-worker"  # shown in CLIENT LIST
_NEIGHBOURS_SECONDS = 3.0  # for the hooks of a pod's other containers to ask; all begin at once
_READY_SILENCE_LEASES = 1.0  # leases without a renewal after which a worker is not ready


class Parts:
    """A worker's parts, made in the jobs' event loop."""

    def __init__(
        self,
        *,
        handlers: HandlerSet,
        settings: WorkerSettings,
        pool: PoolSettings,
        redis: RedisClient,
        reader: GpuReader | None,
        ends_process: bool,
        listening: socket.socket | None,
    ) -> None:
        self.settings = settings
        self.pool = effective(pool, settings)
        self._loop = asyncio.get_running_loop()
        self.slots = Slots(starting_slots(self.pool))
        self._reader = reader
        self._divide_memory()
        self.metrics = WorkerMetrics(self.slots)
        self.consumer = Consumer(redis, settings.pool, settings.worker, kinds=handlers.kinds, version=VERSION)
        self.claims = ClaimLoop(queue=self.consumer, slots=self.slots, metrics=self.metrics)
        self.slots.on_free = self.claims.bell
        self.buffer = CompletionBuffer(
            signal=self.claims.signal, metrics=self.metrics, result_schema=lambda kind: self.pool.schema_of(kind).output
        )
        self.adaptive = AdaptiveSlots(
            slots=self.slots,
            settings=lambda: self.pool,
            reader=reader,
            changed=self._on_slots,
            server=None if settings.server_metrics is None else ServerReader(settings.server_metrics),
        )
        self.fitness = Fitness(unfit=lambda _words: self.drain.leave_early(SICK))
        # A rollback that loses a child also loses what its parent did afterwards, so a child needs no confirmation.
        children = Producer(redis, settings.pool, durability=Durability.LOCAL)
        self.running_jobs = self._make_running_jobs(handlers, children)
        self.claims.join(self.buffer, self.running_jobs)
        self.consumer.reconciled = self._on_reconciled
        self.metrics.gpus = lambda: self.adaptive.readings
        self.drain = Drain(claims=self.claims, running_jobs=self.running_jobs, metrics=self.metrics)
        self.listener = OrderListener(
            queue=self.consumer,
            claims=self.claims,
            running_jobs=self.running_jobs,
            safety_poll_ms=round(settings.safety_poll_seconds * 1000),
        )
        self.side_redis = connect(settings.redis_url, client_name=CLIENT_NAME)
        self._side_consumer = Consumer(
            self.side_redis, settings.pool, settings.worker, kinds=handlers.kinds, version=VERSION
        )
        self._assemble_side(pool, listening, ends_process=ends_process)

    @property
    def drain_seconds(self) -> float:
        """How long leaving lets jobs finish: the worker's own setting, else the pool's."""
        own = self.settings.drain_seconds
        return self.pool.drain_ms / 1000 if own is None else own

    def _make_running_jobs(self, handlers: HandlerSet, producer: Producer) -> RunningJobs:
        return RunningJobs(
            handlers=handlers,
            slots=self.slots,
            buffer=self.buffer,
            calls=QueueCalls(self.consumer, producer, used=self.metrics.record_usage),
            metrics=self.metrics,
            grace_seconds=self.settings.cancel_grace_seconds,
            overloaded=self.adaptive.report_overload,
            recorder=self.adaptive.recorder,
            fitness=self.fitness,
            cost_of=self._cost_of,
            wait_rules=lambda: WaitRules(keep_ms=self.pool.keep_wait_ms, refuse_endless=self.pool.refuse_endless_waits),
        )

    def _assemble_side(self, pool: PoolSettings, listening: socket.socket | None, *, ends_process: bool) -> None:
        settings = self.settings
        self.watchdog = Watchdog(
            running_jobs=self.running_jobs,
            metrics=self.metrics,
            warn_seconds=settings.block_warn_seconds,
            give_up_seconds=settings.block_give_up_seconds,
            give_up=Surrender(self._side_consumer, ends_process=ends_process),
        )
        self.heartbeat = self._make_heartbeat(pool)
        maintenance = MaintenanceLoop(
            queue=self._side_consumer,
            heartbeat=self.heartbeat,
            metrics=self.metrics,
            found=lambda: self._in_jobs_loop(self.claims.bell),
            period_seconds=settings.maintenance_seconds,
        )
        self.health = self._make_health(listening)
        self.memory = MemoryGuard(
            memory=open_memory(settings.memory_limit_bytes),
            running=self.running_jobs.describe,
            leave=lambda: self._in_jobs_loop(self._leave_for_memory),
            hurry=lambda: self._in_jobs_loop(self.drain.hurry),
        )
        services = (
            self.heartbeat.run,
            maintenance.run,
            self.watchdog.run,
            self.memory.run,
            self.health.run,
            self._adapt,
        )
        self.side = SideLoop((*services, follow_supervisor, self._hold_connection))

    def _make_heartbeat(self, pool: PoolSettings) -> Heartbeat:
        return Heartbeat(
            queue=self._side_consumer,
            slots=self.slots,
            metrics=self.metrics,
            watchdog=self.watchdog,
            impediment=self._impediment,
            settings=pool,
            host=self.settings.host,
            lost=lambda: self._in_jobs_loop(self._on_lease_lost),
            changed=lambda changed: self._in_jobs_loop(lambda: self._on_settings(changed)),
            holdings=self.consumer.holdings,
            disagrees=lambda: self._in_jobs_loop(self.claims.compare_holdings),
            publish=self._publish if self.settings.publish_defaults else None,
        )

    def _make_health(self, listening: socket.socket | None) -> HealthServer:
        probes = Probes(
            stuck=self._stuck,
            unready=self._unready,
            staying=self._staying,
            busy=lambda: f"{len(self.running_jobs.running)} jobs run" if self.running_jobs.running else None,
        )
        return HealthServer(
            host=self.settings.http_host,
            port=self.settings.http_port,
            probes=probes,
            metrics=self.metrics,
            listening=listening,
        )

    async def wait_for_neighbours(self) -> None:
        """Answer the neighbours of this pod that ask whether the last job has ended, but not for long."""
        count = self.settings.neighbours
        if self.drain.asked and count:
            await self.side.ask(lambda: self.health.wait_for_neighbours(count, within_seconds=_NEIGHBOURS_SECONDS))

    async def _adapt(self) -> None:
        """Read the GPUs and the model server in the side loop, and decide in the jobs' loop."""
        try:
            while True:
                await asyncio.sleep(PERIOD_SECONDS)
                self.adaptive.read()
                await self.adaptive.read_server()
                self._in_jobs_loop(self.adaptive.run_once)
        finally:
            await self.adaptive.close()

    async def _hold_connection(self) -> None:
        """Close the side loop's connection when the side loop ends."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.side_redis.aclose()

    def _leave_for_memory(self) -> None:
        """Drain because memory runs out: jobs that do not end in time are requeued with a loss."""
        self.running_jobs.exhausted = f"worker {self.settings.worker} {self.memory.words}"
        self.drain.leave_early(RESTART)

    def _in_jobs_loop(self, call: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(call)

    def _staying(self) -> str | None:
        leaves = self.drain.begun.is_set() and self.drain.exit_code != RESTART
        return None if leaves else "the worker stays"

    def _on_lease_lost(self) -> None:
        self.running_jobs.stop_all(Stop.LEASE_LOST)
        self.consumer.forget()
        self.claims.break_off()  # the bell may have rung while unregistered, without effect
        self.claims.bell()

    def _on_reconciled(self, found: Reconciliation) -> None:
        self.metrics.reconciliations += 1
        log.warning(
            "the queue and this worker disagreed, as after Redis went back in time: requeued %d jobs that do not "
            "run here, stopped %d that run here without a lease (%s), dropped %d entries, corrected %d counters",
            found.returned, len(found.disowned), ", ".join(job_id for job_id, _ in found.disowned[:10]) or "none",
            found.dropped, found.corrected,
        )  # fmt: skip
        self.running_jobs.disown(found.disowned)

    def _on_settings(self, pool: PoolSettings) -> None:
        self.pool = effective(pool, self.settings)
        self.adaptive.apply_settings()
        self._divide_memory()
        if self.slots.packs:
            self.claims.break_off()  # a wait that keeps slots knows nothing of their costs
        self.claims.bell()  # the pool may have been resumed, or a route's limit raised

    def _cost_of(self, route: str) -> Route:
        return self.pool.find_route(route)

    def _divide_memory(self) -> None:
        readings = self._reader.read() if self._reader is not None and self.pool.gpu_memory_mib else ()
        self.slots.divide_memory(memory_for_jobs(self.pool.gpu_memory_mib, readings), packs=self.pool.packs)

    def _on_slots(self, change: Change) -> None:
        self.metrics.slot_changes[change.reason.value] += 1
        self.claims.release_excess()

    async def _publish(self, pool: PoolSettings) -> None:
        await Inspector(self.side_redis).configure(self.settings.pool, pool)

    def _stuck(self) -> str | None:
        if not self.watchdog.given_up:
            return None
        return f"the event loop has been blocked for {self.watchdog.blocked_seconds:.0f} s"

    def _impediment(self) -> str | None:
        """Return why the worker takes no jobs without a request to leave; None: claims jobs."""
        return self.watchdog.impediment() or self.fitness.complaint

    def _unready(self) -> str | None:
        if impediment := self._impediment():
            return f"the worker {impediment}"
        if self.metrics.draining:
            return "draining"
        silent = self.heartbeat.silent_seconds
        if silent > self.heartbeat.lease_seconds * _READY_SILENCE_LEASES:
            return f"Redis has not confirmed the lease for {silent:.0f} s"
        return None


def effective(pool: PoolSettings, settings: WorkerSettings) -> PoolSettings:
    """Return the pool's settings, overridden by the worker's own settings."""
    if settings.concurrency is None:
        return pool
    return dataclasses.replace(pool, concurrency=settings.concurrency)
