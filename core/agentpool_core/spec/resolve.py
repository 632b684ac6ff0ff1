"""Convert a spec to the settings of queue and workers.

Presets and all dependent defaults are applied here and nowhere else. The operator publishes the settings with
`agentpool_core.queue.inspector`.
"""

from __future__ import annotations

from agentpool_core.jobs import Durability
from agentpool_core.queue.limits import Budget, Limit, Rate, RateUnit
from agentpool_core.queue.settings import PoolSettings, Route, Tenant
from agentpool_core.spec.pool import AgentPoolSpec, DeletionPolicy
from agentpool_core.spec.presets import CONCURRENCY, Profile
from agentpool_core.spec.queue import EndlessWaits, LimitSpec, RateSpec, UnlistedKinds
from agentpool_core.spec.routes import RouteSpec

MS_PER_SECOND = 1000


def concurrency_of(spec: AgentPoolSpec) -> int:
    """Return the slots of a worker: the spec's value, else the preset."""
    return spec.worker.concurrency or CONCURRENCY[spec.workload][spec.profile]


def settings_of(spec: AgentPoolSpec) -> PoolSettings:
    """Return the queue's settings for a spec."""
    queue, worker = spec.queue, spec.worker
    concurrency = concurrency_of(spec)
    ceiling = worker.adaptive.max or max(concurrency, CONCURRENCY[spec.workload][Profile.HIGH_THROUGHPUT])
    return PoolSettings(
        routes=tuple(map(_route, spec.routes)),
        schemas=tuple(schema for route in spec.routes for schema in route.resolve_schemas()),
        limits=tuple(_limit(limit) for limit in queue.limits),
        schedules=tuple(schedule.resolve() for schedule in spec.schedules),
        tenants=tuple(Tenant(name=t.name, weight=t.weight) for t in queue.tenants if t.weight != 1),
        refuse_unlisted_kinds=queue.unlisted_kinds is UnlistedKinds.REFUSE,
        durability=Durability(queue.durability.value.lower()),
        max_depth=queue.max_depth,
        patience_critical_ms=queue.patience_seconds.critical * MS_PER_SECOND,
        patience_task_ms=queue.patience_seconds.task * MS_PER_SECOND,
        patience_info_ms=queue.patience_seconds.info * MS_PER_SECOND,
        ttl_critical_ms=_ms(queue.ttl_seconds.critical),
        ttl_task_ms=_ms(queue.ttl_seconds.task),
        ttl_info_ms=_ms(queue.ttl_seconds.info),
        max_attempts=queue.retry.max_attempts,
        retry_initial_ms=queue.retry.initial_seconds * MS_PER_SECOND,
        retry_max_ms=queue.retry.max_seconds * MS_PER_SECOND,
        lease_ms=queue.lease_seconds * MS_PER_SECOND,
        timeout_ms=queue.timeout_seconds * MS_PER_SECOND,
        retention_results_ms=queue.retention_seconds.results * MS_PER_SECOND,
        unknown_kind_ms=queue.unknown_kind_seconds * MS_PER_SECOND,
        keep_wait_ms=queue.waits.keep_seconds * MS_PER_SECOND,
        refuse_endless_waits=queue.waits.endless is EndlessWaits.REFUSE,
        retention_dead_ms=queue.retention_seconds.dead * MS_PER_SECOND,
        concurrency=concurrency,
        gpu_memory_mib=worker.gpu_memory_mib or 0,
        adaptive_mode=worker.adaptive.mode,
        adaptive_min=worker.adaptive.min,
        adaptive_max=ceiling,
        drain_ms=worker.drain_seconds * MS_PER_SECOND,
        paused=spec.paused,
        delete_with_pool=spec.deletion_policy is DeletionPolicy.DELETE,
    )


def _route(route: RouteSpec) -> Route:
    return Route(
        name=route.name,
        kinds=tuple(route.kinds),
        max_running=route.max_running,
        slots=route.resources.slots or 1,
        gpu_memory_mib=route.resources.gpu_memory_mib or 0,
        tokens=route.tokens or 0,
    )


def _limit(limit: LimitSpec) -> Limit:
    rate, budget = limit.rate, limit.budget
    return Limit(
        name=limit.name,
        by=limit.by,
        kinds=tuple(limit.kinds),
        routes=tuple(limit.routes),
        max_running=limit.max_running,
        rate=None if rate is None else _rate(rate),
        budget=None
        if budget is None
        else Budget(amount=budget.amount, window_ms=budget.window_seconds * MS_PER_SECOND),
    )


def _rate(rate: RateSpec) -> Rate:
    period_ms = rate.period_seconds * MS_PER_SECOND
    if rate.tokens is not None:
        return Rate(count=rate.tokens, period_ms=period_ms, burst=rate.burst or rate.tokens, unit=RateUnit.TOKENS)
    return Rate(count=rate.count or 1, period_ms=period_ms, burst=rate.burst or 1)


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * MS_PER_SECOND
