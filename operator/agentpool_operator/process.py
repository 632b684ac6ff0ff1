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
from typing import TYPE_CHECKING, Any, Protocol

from agentpool_core.kube import paths
from agentpool_core.kube.connection import Access, connect, load
from agentpool_core.process.cancellation import end
from agentpool_core.text import frames_of
from agentpool_operator.capacity.admission import Admission
from agentpool_operator.capacity.capacity_watch import CapacityWatch
from agentpool_operator.capacity.inventory import Inventory
from agentpool_operator.capacity.placement import Placement
from agentpool_operator.capacity.rollout_check import RolloutCheck
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
    from collections.abc import Coroutine, Sequence

    from agentpool_core.jobs import PoolRef
    from agentpool_core.kube import client
    from agentpool_operator.settings import OperatorSettings

TIDY_SECONDS = 30.0  # between searches for connections that no pool uses
log = logging.getLogger(__name__)


class Service(Protocol):
    """A part that runs for ever."""

    async def run(self) -> None:
        """Run until cancelled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueParts:
    """Parts that reach the pools' Redis servers."""

    schedule: Schedule
    connections: RedisConnections
    purger: Purger
    secrets: Secrets
    reader: QueueReader


@dataclass(frozen=True, kw_only=True, slots=True)
class Reporting:
    """Parts that report to the user: metrics, events, status."""

    metrics: Metrics
    recorder: Recorder
    status: StatusWriter


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Parts of an operator."""

    pools: Pools
    queue: QueueParts
    reporting: Reporting
    leadership: Leadership
    reconciler: Reconciler
    loop: ScalingLoop
    election: Election
    watches: Watches
    outage_filter: OutageLogFilter
    services: Sequence[Service]  # further parts that only run

    def start(self) -> list[Coroutine[Any, Any, None]]:
        """Return the coroutines of all parts that run for ever, without the watches, which end last."""
        running: list[Service] = [self.election, self.reconciler, self.loop, self.queue.purger, self.outage_filter]
        return [*(part.run() for part in (*running, *self.services)), _tidy(self), _forget_deleted(self)]


def assemble(settings: OperatorSettings, access: Access, api: client.Cluster) -> Parts:
    """Return all parts, connected but not running."""
    pools = Pools()
    leadership = Leadership(elected=settings.election.enabled)
    cluster = Cluster(api, may_write=leadership)
    queue = _assemble_queue(settings, cluster, pools)
    reporting = _assemble_reporting(settings, cluster, pools)
    capacity_watch = CapacityWatch(cluster, Inventory())
    admission = Admission(cluster, pools, leading=leadership)
    check = RolloutCheck(capacity_watch, admission)
    resync = Resync(cluster, pools, namespaces=settings.namespaces, every_s=settings.loop.resync_s)
    pod_events = PodEventWatch(cluster, pools, leading=leadership)
    return Parts(
        pools=pools,
        queue=queue,
        reporting=reporting,
        leadership=leadership,
        reconciler=_reconciler(settings, cluster, pools, queue=queue, reporting=reporting, check=check),
        loop=_scaling_loop(cluster, pools, queue, reporting, watch=capacity_watch, admission=admission),
        election=Election(cluster, settings.election, leadership, on_lead=pools.request_all_passes),
        watches=Watches(cluster, pools, access.settings, namespaces=settings.namespaces),
        outage_filter=OutageLogFilter(lambda: _probe(cluster, settings)),
        services=(reporting.recorder, resync, capacity_watch, admission, pod_events),
    )


def _assemble_queue(settings: OperatorSettings, cluster: Cluster, pools: Pools) -> QueueParts:
    schedule = Schedule(pools, gap_s=settings.loop.wake_gap_s)

    def read_soon(ref: PoolRef, url: str) -> None:
        """Handle a pressure signal: a server may name any pool; only pools of that server are read."""
        pool = pools.get(ref)
        if pool is not None and pool.redis_url == url:
            schedule.request_read(ref)

    connections = RedisConnections(read_soon)
    purger = Purger(cluster, connections, leading=cluster.may_write, lives=lambda ref: pools.get(ref) is not None)
    secrets = Secrets(cluster, settings.loop)
    reader = QueueReader(
        secrets, connections, purger, timeout_s=settings.loop.read_timeout_s, leading=cluster.may_write
    )
    return QueueParts(schedule=schedule, connections=connections, purger=purger, secrets=secrets, reader=reader)


def _assemble_reporting(settings: OperatorSettings, cluster: Cluster, pools: Pools) -> Reporting:
    metrics = Metrics()
    metrics.registry.register(QueueMetrics(pools, leading=cluster.may_write))
    recorder = Recorder(cluster, identity=settings.election.identity)
    status = StatusWriter(cluster, pools, gap_s=settings.loop.status_gap_s, record=recorder.record)
    return Reporting(metrics=metrics, recorder=recorder, status=status)


def _reconciler(
    settings: OperatorSettings,
    cluster: Cluster,
    pools: Pools,
    *,
    queue: QueueParts,
    reporting: Reporting,
    check: RolloutCheck,
) -> Reconciler:
    return Reconciler(
        pools,
        Applier(
            cluster,
            pools,
            queue.secrets,
            default_image=settings.worker_image,
            image_pull_secrets=settings.image_pull_secrets,
            operator=f"{settings.election.namespace}/{settings.election.name}",
            misfit=check.misfit,
        ),
        reporting.status,
        reporting.recorder,
        leading=cluster.may_write,
        request_read=queue.schedule.request_read,
    )


def _scaling_loop(
    cluster: Cluster,
    pools: Pools,
    queue: QueueParts,
    reporting: Reporting,
    *,
    watch: CapacityWatch,
    admission: Admission,
) -> ScalingLoop:
    scaler = Scaler(cluster, pools)
    return ScalingLoop(
        pools=pools,
        reader=queue.reader,
        placement=Placement(watch.inventory, admitted=admission.known),
        capacity_watch=watch,
        scaler=scaler,
        scale_in=ScaleIn(scaler, queue.reader),
        status=reporting.status,
        recorder=reporting.recorder,
        metrics=reporting.metrics,
        schedule=queue.schedule,
        leading=cluster.may_write,
    )


async def _probe(cluster: Cluster, settings: OperatorSettings) -> None:
    """Send a request that the API server cannot answer without its storage."""
    await cluster.get(paths.agentpools(next(iter(settings.namespaces), None)), limit="1")


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
        parts.reporting.metrics,
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
        await parts.queue.connections.close()
        await health.stop()
        for handler in handlers:
            handler.removeFilter(parts.outage_filter)


async def _serve(parts: Parts) -> None:
    """Run all parts until a signal or the first failure."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    services = [asyncio.create_task(service) for service in parts.start()]
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


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _refresh(parts: Parts) -> None:
    parts.reporting.metrics.leading.set(1 if parts.leadership() else 0)
    parts.reporting.metrics.pools.set(len(parts.pools))
    if not parts.leadership():
        parts.reporting.metrics.stand_down()


async def _forget_deleted(parts: Parts) -> None:
    while True:
        pool = await parts.pools.next_deleted()
        parts.queue.purger.check_soon(pool.redis_url)
        parts.reporting.metrics.forget(pool)
        parts.reporting.status.forget(pool.ref)
        parts.reconciler.forget(pool)


async def _tidy(parts: Parts) -> None:
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            await parts.queue.reader.tidy(parts.pools, also=parts.queue.purger.waiting)
            parts.queue.secrets.keep_only(parts.pools)
            parts.queue.purger.keep_only({pool.redis_url for pool in parts.pools if pool.redis_url is not None})
        except Exception as error:  # noqa: BLE001 - closing one pool's connection must not stop the others
            log.warning("connections that no pool uses are closed later:\n%s", frames_of(error))
