"""The table of all metrics, from the code that emits them: the own registries of operator, worker and gateway.

Each registry is filled with one sample of everything, so that families which exist only with a pool, a job or a GPU
are in the table too. Who takes over next: `generate.py` writes the table; the tests lint the same exposition with
promtool, and check that the dashboard and the alerts use no other names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from agentpool.spec.queue import MAX_ROUTES

UNITS = {
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_ratio": "share, 0–1",
    "_jobs": "jobs",
    "_replicas": "workers",
    "_workers": "workers",
}
HEAD = """\
# Metrics

Every metric, generated from the code by `make generate`. Counters end in `_total`; a histogram `x` has `x_bucket`,
`x_sum` and `x_count`. Gauges of a pool are the operator's; only the one that leads emits them, so `max by
(namespace, pool)` is right with any number of operators. Unknown is absent, never zero.

Cardinality: a series for each pool, times routes (at most {routes}) and priorities (3) where those are labels. `kind`
is bounded to 50 values a worker, the rest counts as `other`. Workers come and go, so their series carry `pod` and
`pool` from the PodMonitor; no metric has a job's id.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One metric."""

    name: str  # as queries write it
    sort: str  # counter, gauge or histogram
    labels: tuple[str, ...]
    unit: str
    text: str
    emitter: str  # operator, worker or gateway


def reference() -> str:
    """The whole page."""
    head = HEAD.format(routes=MAX_ROUTES)
    lines = [head, "| metric | type | labels | unit | meaning | emitted by |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{r.name}` | {r.sort} | {', '.join(r.labels) or '–'} | {r.unit} | {r.text} | {r.emitter} |" for r in rows()
    ]
    return "\n".join(lines) + "\n"


def rows() -> list[Row]:
    """All metrics, the operator's first, by name."""
    return [
        *sorted(_rows(operator_registry(), "operator"), key=lambda row: row.name),
        *sorted(_rows(worker_registry(), "worker"), key=lambda row: row.name),
        *sorted(_rows(gateway_registry(), "gateway"), key=lambda row: row.name),
    ]


def operator_registry() -> CollectorRegistry:
    """The operator's registry with one pool in it."""
    from agentpool.jobs import PoolRef, Priority
    from agentpool.queue.snapshots import QueueSnapshot, RouteSnapshot
    from agentpool.spec import AgentPoolSpec
    from agentpool_operator.metrics import Metrics
    from agentpool_operator.queue_metrics import QueueMetrics
    from agentpool_operator.registry import Pool
    from agentpool_operator.scaling.observation import Backlog

    spec = AgentPoolSpec.model_validate({"handler": {"command": {"argv": ["true"]}}, "gpu": {}})
    pool = Pool(ref=PoolRef("ns", "pool"), resource={"metadata": {"uid": "u"}}, spec=spec)
    pool.backlog, pool.placeable = Backlog(), 1
    pool.snapshot = QueueSnapshot(
        taken_at_ms=0,
        routes=(RouteSnapshot(name="default", limit=1, queued=dict.fromkeys(Priority, 0), running=0),),
        scheduled=0,
        blocked=0,
        dead=0,
        oldest_wait_ms=None,
        workers=(),
        submitted_total=0,
        started_total=0,
        finished_total=0,
        run_ms_total=0,
        paused=False,
        settings_revision="",
    )
    metrics = Metrics()
    metrics.registry.register(QueueMetrics([pool], leading=lambda: True))
    decision = SimpleNamespace(replicas=1, wanted=1, capped_by=SimpleNamespace(value="None"))
    metrics.decided(pool, cast("Any", decision), before=0)
    metrics.failures.labels("QueueError").inc(0)
    return metrics.registry


def worker_registry() -> CollectorRegistry:
    """The worker's registry with one job and one GPU in it."""
    from agentpool.queue.outcomes import SettleOutcome
    from agentpool_worker.gpu import GpuReading
    from agentpool_worker.metrics import WorkerMetrics

    slots = SimpleNamespace(total=1, used=0)
    metrics = WorkerMetrics(cast("Any", slots))
    metrics.settled(["kind"], [SettleOutcome.APPLIED])
    metrics.ended("kind", 0.0)
    metrics.slot_changes["settings"] += 1
    metrics.gpus = lambda: [GpuReading(index=0, utilisation=0.0, memory_used_bytes=0, memory_total_bytes=1)]
    return metrics.registry


def gateway_registry() -> CollectorRegistry:
    """The gateway's registry with one request and one job in it."""
    from agentpool_gateway.metrics import Metrics

    metrics = Metrics()
    metrics.requests.labels("POST", "/v1/jobs", "202").inc(0)
    metrics.seconds.labels("POST", "/v1/jobs").observe(0)
    metrics.jobs.labels("ns", "pool", "false").inc(0)
    return metrics.registry


def _rows(registry: CollectorRegistry, emitter: str) -> Iterator[Row]:
    for family in registry.collect():
        if family.name.startswith("agentpool_"):
            yield _row(family, emitter)


def _row(family: Metric, emitter: str) -> Row:
    labels = {name: None for sample in family.samples for name in sample.labels if name != "le"}
    name = f"{family.name}_total" if family.type == "counter" else family.name
    unit = next((unit for end, unit in UNITS.items() if family.name.endswith(end)), "count")
    return Row(name=name, sort=family.type, labels=tuple(labels), unit=unit, text=family.documentation, emitter=emitter)
