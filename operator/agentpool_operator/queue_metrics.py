"""Prometheus metrics of the pools' queues, as last read by the scaling loop.

Built from the registry at each scrape, so an absent or unreadable pool has no series, and no pool has while a different
operator leads: unknown is absent, never zero. Cardinality: for each pool at most its routes times three priorities,
and its limits by name, never by key; its spec bounds both. Tenants have a bounded number of names. `health` serves it
with `metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from agentpool_core.demand_documents import demand_document
from agentpool_core.spec import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_operator.pools.pool import Pool

POOL = ("namespace", "pool")
MS_PER_SECOND = 1000.0


class QueueMetrics:
    """A collector over the registry's pools."""

    def __init__(self, pools: Iterable[Pool], *, leading: Callable[[], bool]) -> None:
        self._pools = pools
        self._leading = leading

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, for the registry."""
        pools = self._pools if self._leading() else ()
        read = [(pool, pool.snapshot) for pool in pools if pool.snapshot is not None]
        yield from _routes(read)
        yield from _limits(read)
        yield _tenants(read)
        yield from _gauges(read)
        yield from _counters(read)
        yield _held_devices(read)
        yield _demand(read)


def _names(pool: Pool) -> list[str]:
    return [pool.ref.namespace, pool.ref.name]


def _routes(read: list[tuple[Pool, QueueSnapshot]]) -> Iterator[Metric]:
    queued = GaugeMetricFamily(
        "agentpool_pool_route_queued_jobs",
        "Jobs that wait for a slot, by route and priority.",
        labels=(*POOL, "route", "priority"),
    )
    running = GaugeMetricFamily(
        "agentpool_pool_route_running_jobs", "Jobs that run, by route.", labels=(*POOL, "route")
    )
    limit = GaugeMetricFamily(
        "agentpool_pool_route_limit_jobs", "Limit of a route: jobs that may run at once.", labels=(*POOL, "route")
    )
    for pool, snapshot in read:
        for route in snapshot.routes:
            for priority, count in route.queued.items():
                queued.add_metric([*_names(pool), route.name, priority.value], count)
            running.add_metric([*_names(pool), route.name], route.running)
            if route.limit is not None:
                limit.add_metric([*_names(pool), route.name], route.limit)
    yield from (queued, running, limit)


def _limits(read: list[tuple[Pool, QueueSnapshot]]) -> Iterator[Metric]:
    labels = (*POOL, "limit")
    waiting = GaugeMetricFamily(
        "agentpool_pool_limit_waiting_jobs", "Jobs that wait for a limit, by its name.", labels=labels
    )
    spent = GaugeMetricFamily(
        "agentpool_pool_budget_spent",
        "Money spent in the present window of a budget for all jobs, in the unit that handlers report.",
        labels=labels,
    )
    amount = GaugeMetricFamily(
        "agentpool_pool_budget_amount", "Money of a window of a budget for all jobs, likewise.", labels=labels
    )
    for pool, snapshot in read:
        for limit in snapshot.limits:
            names = [*_names(pool), limit.name]
            waiting.add_metric(names, limit.waiting)
            if limit.budget is not None:
                spent.add_metric(names, limit.budget.spent)
                amount.add_metric(names, limit.budget.amount)
    yield from (waiting, spent, amount)


def _tenants(read: list[tuple[Pool, QueueSnapshot]]) -> Metric:
    waits = GaugeMetricFamily(
        "agentpool_pool_tenant_oldest_wait_seconds",
        "Wait of a tenant's oldest ready job, of the ten tenants with the longest waits; read each half minute.",
        labels=(*POOL, "tenant"),
    )
    for pool, _ in read:
        for tenant, seconds in pool.queue.tenant_waits.items():
            waits.add_metric([*_names(pool), tenant], seconds)
    return waits


def _gauges(read: list[tuple[Pool, QueueSnapshot]]) -> Iterator[Metric]:
    scheduled = GaugeMetricFamily("agentpool_pool_scheduled_jobs", "Jobs that wait for their time.", labels=POOL)
    blocked = GaugeMetricFamily("agentpool_pool_blocked_jobs", "Jobs that wait for other jobs.", labels=POOL)
    waiting = GaugeMetricFamily(
        "agentpool_pool_waiting_jobs", "Started jobs that wait for a signal or a time, without a slot.", labels=POOL
    )
    dead = GaugeMetricFamily("agentpool_pool_dead_jobs", "Dead letters.", labels=POOL)
    quarantined = GaugeMetricFamily(
        "agentpool_pool_quarantined_jobs", "Ready jobs that wait to run alone.", labels=POOL
    )
    slots = GaugeMetricFamily("agentpool_pool_slots", "Slots of all live workers.", labels=POOL)
    used = GaugeMetricFamily("agentpool_pool_slots_used", "Slots that running jobs take.", labels=POOL)
    for pool, snapshot in read:
        scheduled.add_metric(_names(pool), snapshot.scheduled)
        blocked.add_metric(_names(pool), snapshot.blocked)
        waiting.add_metric(_names(pool), snapshot.waiting)
        dead.add_metric(_names(pool), snapshot.dead)
        quarantined.add_metric(_names(pool), snapshot.quarantined)
        slots.add_metric(_names(pool), snapshot.slots)
        used.add_metric(_names(pool), snapshot.slots_used)
    yield from (scheduled, blocked, waiting, dead, quarantined, slots, used)


def _counters(read: list[tuple[Pool, QueueSnapshot]]) -> Iterator[Metric]:
    submitted = CounterMetricFamily("agentpool_pool_submitted_jobs", "Jobs submitted.", labels=POOL)
    started = CounterMetricFamily("agentpool_pool_started_attempts", "Attempts begun.", labels=POOL)
    finished = CounterMetricFamily("agentpool_pool_finished_jobs", "Jobs ended, with any outcome.", labels=POOL)
    run = CounterMetricFamily("agentpool_pool_run_seconds", "Total time of ended attempts.", labels=POOL)
    for pool, snapshot in read:
        submitted.add_metric(_names(pool), snapshot.submitted_total)
        started.add_metric(_names(pool), snapshot.started_total)
        finished.add_metric(_names(pool), snapshot.finished_total)
        run.add_metric(_names(pool), snapshot.run_ms_total / MS_PER_SECOND)
    yield from (submitted, started, finished, run)


def _held_devices(read: list[tuple[Pool, QueueSnapshot]]) -> Metric:
    held = GaugeMetricFamily("agentpool_pool_gpus_held", "Devices that the pool's pods hold.", labels=POOL)
    for pool, _ in read:
        if pool.spec is not None and pool.spec.gpu is not None:
            held.add_metric(_names(pool), pool.devices_held)
    return held


def _demand(read: list[tuple[Pool, QueueSnapshot]]) -> Metric:
    demanded = GaugeMetricFamily(
        "agentpool_pool_demanded_workers",
        "Workers with a slot for each job that runs or that all limits allow to start now; for other autoscalers.",
        labels=POOL,
    )
    for pool, snapshot in read:
        if pool.spec is not None:
            demand = demand_document(snapshot, settings_of(pool.spec), pool.ref)
            demanded.add_metric(_names(pool), demand["workers"])
    return demanded
