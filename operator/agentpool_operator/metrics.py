"""Prometheus metrics of the operator.

`agentpool_operator_…` describes the operator, `agentpool_pool_…` each pool as last decided. Unknown values have no
series: the jobs of an unreadable queue, and all pools while a different operator leads. Served by `health`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.scaling.decision import Decision

POOL = ("namespace", "pool")
PASS_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """All metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.leading = Gauge("agentpool_operator_leading", "1 while this operator leads.", registry=self.registry)
        self.pools = Gauge("agentpool_operator_pools", "Served pools.", registry=self.registry)
        self.pass_seconds = Histogram(
            "agentpool_operator_pass_seconds",
            "Duration of a pass of the scaling loop.",
            buckets=PASS_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.failures = Counter(
            "agentpool_operator_failures", "Failed passes over a pool.", ("error",), registry=self.registry
        )
        self.decisions = Counter(
            "agentpool_operator_decisions", "Decisions about a pool's size.", registry=self.registry
        )
        self.changes = Counter(
            "agentpool_pool_size_changes", "Changes of a pool's size.", (*POOL, "direction"), registry=self.registry
        )
        self.desired = self._gauge("desired_replicas", "Workers that the operator has requested.")
        self.wanted = self._gauge("wanted_replicas", "Workers that the work alone would need.")
        self.ready = self._gauge("ready_replicas", "Workers that are ready.")
        self.queued = self._gauge("queued_jobs", "Jobs that wait for a slot.")
        self.running = self._gauge("running_jobs", "Jobs that run.")
        self.oldest = self._gauge("oldest_wait_seconds", "Wait of the oldest ready job.")
        self.target = self._gauge(
            "target_wait_seconds", "Target wait of the pool, the longest of its priorities; none for a paused pool."
        )
        self.placeable = self._gauge("placeable_workers", "Workers that fit on the nodes.")
        self.reachable = self._gauge("queue_reachable", "1 while the queue can be read.")
        self.capped = Gauge(
            "agentpool_pool_capped",
            "1 for the reason that keeps a pool's size from its demand.",
            (*POOL, "by"),
            registry=self.registry,
        )
        self._capped_by: dict[tuple[str, str], str] = {}
        self._of_pool = (
            self.queued,
            self.running,
            self.oldest,
            self.target,
            self.reachable,
            self.desired,
            self.wanted,
            self.ready,
            self.placeable,
            self.capped,
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"agentpool_pool_{name}", text, POOL, registry=self.registry)

    def record_decision(self, pool: Pool, decision: Decision, *, before: int) -> None:
        """Record a decision; `before` is the previous size."""
        self.decisions.inc()
        names = (pool.ref.namespace, pool.ref.name)
        backlog = pool.backlog
        for gauge, value in (
            (self.desired, decision.replicas),
            (self.wanted, decision.wanted),
            (self.ready, pool.deployment.ready if pool.deployment else 0),
            (self.placeable, pool.placeable),
            (self.target, _target_wait_s(pool)),
            (self.reachable, 0 if backlog is None else 1),
            (self.queued, None if backlog is None else backlog.ready),
            (self.running, None if backlog is None else backlog.running),
            (self.oldest, None if backlog is None else backlog.oldest_wait_s or 0.0),
        ):
            _show(gauge, names, value)
        if decision.replicas != before:
            self.changes.labels(*names, "up" if decision.replicas > before else "down").inc()
        self._cap(names, decision.capped_by.value)

    def _cap(self, names: tuple[str, str], cap: str) -> None:
        before = self._capped_by.get(names)
        if before is not None and before != cap:
            self.capped.remove(*names, before)
        self._capped_by[names] = cap
        self.capped.labels(*names, cap).set(1)

    def forget(self, pool: Pool) -> None:
        """Drop the series of a deleted pool."""
        names = (pool.ref.namespace, pool.ref.name)
        for metric in (*self._of_pool, self.changes):
            metric.remove_by_labels(dict(zip(POOL, names, strict=True)))
        self._capped_by.pop(names, None)

    def stand_down(self) -> None:
        """Remove all decisions: while a different operator leads, these figures would hide its figures."""
        for gauge in self._of_pool:
            gauge.clear()
        self._capped_by.clear()


def _target_wait_s(pool: Pool) -> float | None:
    """Return the longest target of any priority: the oldest job is of any priority."""
    if pool.spec is None or pool.spec.paused:
        return None
    scaling = pool.spec.scaling
    return max([scaling.target_wait_seconds, *(target.wait_seconds for target in scaling.targets)])


def _show(gauge: Gauge, names: tuple[str, str], value: float | None) -> None:
    """Set a gauge, or remove it for None: an old value would stay for ever, and an alert with it."""
    if value is None:
        gauge.remove(*names)  # not by labels, which goes through the series of all pools
    else:
        gauge.labels(*names).set(value)
