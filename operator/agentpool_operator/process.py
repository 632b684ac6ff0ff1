"""The operator as a process: its parts connected, started and stopped.

All parts except kopf's watches run in a single event loop: the election, the reconciler, the scaling loop and the
background services. When a part dies, all stop and the process ends, and Kubernetes restarts it. `commands` calls
`run`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.kube import paths
from agentpool_core.kube.connection import Access, connect, load
from agentpool_core.process.cancellation import end
from agentpool_core.text import frames_of
from agentpool_operator.capacity.capacity_watch import CapacityWatch
from agentpool_operator.capacity.inventory import Inventory
from agentpool_operator.children.applier import Applier
from agentpool_operator.cluster import Cluster
from agentpool_operator.election import Election, Leadership
from agentpool_operator.gc_tuning import ShortPauses
from agentpool_operator.health import Health
from agentpool_operator.metrics import Metrics
from agentpool_operator.pools.registry import Pools
from agentpool_operator.pools.resync import Resync
from agentpool_operator.pools.watches import Watches
from agentpool_operator.queue.purge import Purger
from agentpool_operator.queue.read_order import Schedule
from agentpool_operator.queue.reader import QueueReader
from agentpool_operator.queue.redis_connections import RedisConnections
from agentpool_operator.queue.secrets import Secrets
from agentpool_operator.queue_metrics import QueueMetrics
from agentpool_operator.reconciler import Reconciler
from agentpool_operator.scale_loop.loop import ScalingLoop
from agentpool_operator.scale_loop.replicas import Scaler
from agentpool_operator.scale_loop.scale_in import ScaleIn
from agentpool_operator.status.events import Recorder
from agentpool_operator.status.outage_log_filter import OutageLogFilter
from agentpool_operator.status.patch import StatusWriter
from agentpool_operator.status.pod_events import PodEventWatch

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from agentpool_core.jobs import PoolRef
    from agentpool_core.kube import client
    from agentpool_operator.settings import OperatorSettings

TIDY_SECONDS = 30.0  # between searches for connections that no pool uses
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Parts of an operator."""

    cluster: Cluster
    pools: Pools
    connections: RedisConnections
    reader: QueueReader
    purger: Purger
    capacity_watch: CapacityWatch
    metrics: Metrics
    recorder: Recorder
    leadership: Leadership
    election: Election
    status: StatusWriter
    reconciler: Reconciler
    loop: ScalingLoop
    resync: Resync
    watches: Watches
    outage_filter: OutageLogFilter
    pod_events: PodEventWatch

    def services(self) -> list[Coroutine[Any, Any, None]]:
        """Everything that runs for ever, the watches aside: they end last."""
        return [
            self.election.run(),
            self.reconciler.run(),
            self.loop.run(),
            self.recorder.run(),
            self.purger.run(),
            self.resync.run(),
            self.capacity_watch.run(),
            self.outage_filter.run(),
            self.pod_events.run(),
            _tidy(self),
            _forget_deleted(self),
        ]


def assemble(settings: OperatorSettings, access: Access, api: client.Cluster) -> Parts:
    """All parts, connected but not running."""
    pools, metrics = Pools(), Metrics()
    leadership = Leadership(elected=settings.election.enabled)
    metrics.registry.register(QueueMetrics(pools, leading=leadership))
    cluster = Cluster(api, may_write=leadership)
    schedule = Schedule(pools, gap_s=settings.loop.wake_gap_s)

    def read_soon(ref: PoolRef, url: str) -> None:
        """Handle a pressure signal: a server may name any pool; only pools of that server are read."""
        pool = pools.get(ref)
        if pool is not None and pool.redis_url == url:
            schedule.request_read(ref)

    connections = RedisConnections(read_soon)
    purger = Purger(cluster, connections, leading=leadership, lives=lambda ref: pools.get(ref) is not None)
    secrets = Secrets(cluster, settings.loop)
    reader = QueueReader(secrets, connections, purger, timeout_s=settings.loop.read_timeout_s, leading=leadership)
    inventory = Inventory()
    capacity_watch = CapacityWatch(cluster, inventory)
    recorder = Recorder(cluster, identity=settings.election.identity)
    status = StatusWriter(cluster, pools, gap_s=settings.loop.status_gap_s, record=recorder.record)
    applier = Applier(cluster, pools, secrets, default_image=settings.worker_image)
    reconciler = Reconciler(pools, applier, status, recorder, leading=leadership, request_read=schedule.request_read)
    scaler = Scaler(cluster, pools)
    loop = ScalingLoop(
        pools=pools,
        reader=reader,
        inventory=inventory,
        capacity_watch=capacity_watch,
        scaler=scaler,
        scale_in=ScaleIn(scaler, reader),
        status=status,
        recorder=recorder,
        metrics=metrics,
        schedule=schedule,
        leading=leadership,
    )

    async def ask() -> None:
        """Send a request that the API server cannot answer without its storage."""
        await cluster.get(paths.agentpools(next(iter(settings.namespaces), None)), limit="1")

    resync = Resync(cluster, pools, namespaces=settings.namespaces, every_s=settings.loop.resync_s)
    return Parts(
        cluster=cluster,
        pools=pools,
        connections=connections,
        reader=reader,
        purger=purger,
        capacity_watch=capacity_watch,
        metrics=metrics,
        recorder=recorder,
        leadership=leadership,
        election=Election(cluster, settings.election, leadership, on_lead=pools.request_all_passes),
        status=status,
        reconciler=reconciler,
        loop=loop,
        resync=resync,
        watches=Watches(cluster, pools, access.settings, namespaces=settings.namespaces),
        outage_filter=OutageLogFilter(ask),
        pod_events=PodEventWatch(cluster, pools, leading=leadership),
    )


async def run(settings: OperatorSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises SettingError for unusable settings."""
    for namespace in settings.namespaces:
        paths.agentpools(namespace)  # kopf inserts the name into its own paths unchecked
    pauses = ShortPauses()
    gc.callbacks.append(pauses)
    access = await load(settings.kubeconfig)
    try:
        async with connect(access) as api:
            await _run(settings, assemble(settings, access, api))
    finally:
        gc.callbacks.remove(pauses)


async def _run(settings: OperatorSettings, parts: Parts) -> None:
    """Serve health, metrics and pools."""
    health = Health(
        parts.metrics,
        last_pass_at=lambda: parts.loop.last_pass_at,
        ready=lambda: parts.watches.ready,
        refresh=lambda: _refresh(parts),
    )
    handlers = logging.getLogger().handlers
    for handler in handlers:
        handler.addFilter(parts.outage_filter)
    try:
        port = await health.start(settings.health_host, settings.health_port)
        log.info("serving /healthz, /readyz and /metrics on port %d", port)
        await _serve(parts)
    finally:
        await parts.connections.close()
        await health.stop()
        for handler in handlers:
            handler.removeFilter(parts.outage_filter)


async def _serve(parts: Parts) -> None:
    """Everything at once, until a signal or the first failure."""
    stop = asyncio.Event()
    _heed_signals(stop)
    services = [asyncio.create_task(service) for service in parts.services()]
    watching = asyncio.create_task(parts.watches.run())
    waiter = asyncio.create_task(stop.wait())
    try:
        await _first_failure([*services, watching], waiter)
    finally:
        await _end_all([*services, waiter])
        await parts.election.resign()  # no writer is left: the next leader need not wait for the watches to end
        await parts.watches.close()
        await _end_all([watching])


async def _first_failure(tasks: list[asyncio.Task[None]], waiter: asyncio.Task[Any]) -> None:
    """Wait for the stop; raise the error of a failed task. A task that ends normally is ignored."""
    pending: set[asyncio.Task[Any]] = {*tasks, waiter}
    while not waiter.done():
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiter}:
            await task


async def _end_all(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*(end(task) for task in tasks))


def _heed_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _refresh(parts: Parts) -> None:
    parts.metrics.leading.set(1 if parts.leadership() else 0)
    parts.metrics.pools.set(len(parts.pools))
    if not parts.leadership():
        parts.metrics.stand_down()


async def _forget_deleted(parts: Parts) -> None:
    while True:
        pool = await parts.pools.next_deleted()
        parts.purger.check_soon(pool.redis_url)
        parts.metrics.forget(pool)
        parts.status.forget(pool.ref)
        parts.reconciler.forget(pool)


async def _tidy(parts: Parts) -> None:
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            await parts.reader.tidy(parts.pools, also=parts.purger.waiting)
        except Exception as error:  # noqa: BLE001 - closing one pool's connection must not stop the others
            log.warning("connections that no pool uses are closed later:\n%s", frames_of(error))
