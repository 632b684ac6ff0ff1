"""The table of all metrics, from the code that emits them: the registries of operator, worker and gateway.

Each registry is filled with a sample of everything, so that the table includes families which exist only with a pool, a
job or a GPU. `generate.py` writes the table; the tests lint the same exposition with promtool, and check that the
dashboard and the alerts use no further names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

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

Cardinality is bounded: a metric has at most one series for each combination of its labels' values, and a histogram one
for each bucket and two more of each. The [table of labels](#labels) says how many values each may have. Nothing that a
caller makes up becomes a value without end: neither ids of jobs, nor paths, nor names of callers, kinds and tenants.
Workers come and go, so their series carry `pod` and `pool` from the PodMonitor.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A metric."""

    name: str  # as in queries
    sort: str  # counter, gauge or histogram
    labels: tuple[str, ...]
    unit: str
    text: str
    emitter: str  # operator, worker or gateway


def reference() -> str:
    """Return the whole page. Raises KeyError for a label without a bound."""
    found = rows()
    lines = [HEAD, "| metric | type | labels | unit | meaning | emitted by |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{r.name}` | {r.sort} | {', '.join(r.labels) or '–'} | {r.unit} | {r.text} | {r.emitter} |" for r in found
    ]
    bounds = label_bounds()
    lines += ["", "## Labels", "", "| label | emitted by | values, at most | which |", "|---|---|---|---|"]
    for emitter, label in dict.fromkeys((row.emitter, label) for row in found for label in row.labels):
        most, which = bounds[emitter, label]
        lines.append(f"| `{label}` | {emitter} | {most} | {which} |")
    return "\n".join(lines) + "\n"


def label_bounds() -> dict[tuple[str, str], tuple[str, str]]:
    """Return the number of values and the values of each emitter's labels, as bounded by the code."""
    from agentpool_core.jobs import Priority
    from agentpool_core.queue.completions import SettleOutcome
    from agentpool_core.spec.queue import MAX_LIMITS
    from agentpool_core.spec.routes import MAX_ROUTES
    from agentpool_gateway.http.middleware import METHODS
    from agentpool_operator.queue.reader import NAMED_TENANTS
    from agentpool_operator.scaling.decision import Cap
    from agentpool_worker.slots.observation import Reason
    from agentpool_worker.telemetry.label_limiter import LabelLimiter

    bounded = LabelLimiter(others="other")
    kinds = len({bounded.name(str(number)) for number in range(10_000)})
    return {
        ("operator", "error"): ("the code's classes", "the class of the error, never its message"),
        ("operator", "namespace"): ("one a pool", "of each AgentPool that is served"),
        ("operator", "pool"): ("one a pool", "of each AgentPool that is served"),
        ("operator", "by"): (str(len(Cap)), "what caps a pool; one at a time for each pool"),
        ("operator", "route"): (f"{MAX_ROUTES + 1} a pool", "`spec.routes`, and `default`"),
        ("operator", "limit"): (f"{MAX_LIMITS} a pool", "`spec.queue.limits`"),
        ("operator", "tenant"): (
            f"{NAMED_TENANTS + 1} a pool",
            "the first in the list of longest waits; the rest is `other`",
        ),
        ("operator", "priority"): (str(len(Priority)), "critical, task, info"),
        ("operator", "direction"): ("2", "up, down"),
        ("worker", "kind"): (f"{kinds} a worker", "the first kinds that come; the rest counts as `other`"),
        ("worker", "model"): (f"{kinds} pairs with a kind a worker", "as handlers report them; the rest is `other`"),
        ("worker", "direction"): ("2", "input, output"),
        ("worker", "outcome"): (str(len(SettleOutcome)), ", ".join(SettleOutcome)),
        ("worker", "reason"): (str(len(Reason)), ", ".join(Reason)),
        ("worker", "gpu"): ("one a GPU", "the indices of the GPUs that the worker sees"),
        ("gateway", "namespace"): ("one a pool", "of each AgentPool that took a job through this gateway"),
        ("gateway", "pool"): ("one a pool", "of each AgentPool that took a job through this gateway"),
        ("gateway", "duplicate"): ("2", "true, false"),
        ("gateway", "method"): (str(len(METHODS) + 1), "HTTP's; anything else counts as `other`"),
        ("gateway", "route"): ("the API's routes", "as they are declared, with `{names}`; all else counts as `none`"),
        ("gateway", "status"): ("the API's codes", "HTTP codes that the API answers with"),
    }


def rows() -> list[Row]:
    """Return all metrics, the operator's first, by name."""
    return [
        *sorted(_rows(operator_registry(), "operator"), key=lambda row: row.name),
        *sorted(_rows(worker_registry(), "worker"), key=lambda row: row.name),
        *sorted(_rows(gateway_registry(), "gateway"), key=lambda row: row.name),
    ]


def operator_registry() -> CollectorRegistry:
    """Return the operator's registry with a sample pool."""
    from agentpool_core.jobs import BudgetUse, PoolRef, Priority
    from agentpool_core.queue.snapshots import LimitSnapshot, QueueSnapshot, RouteSnapshot
    from agentpool_core.spec import AgentPoolSpec
    from agentpool_operator.metrics import Metrics
    from agentpool_operator.pools.pool import Declared, Pool, Room
    from agentpool_operator.queue_metrics import QueueMetrics
    from agentpool_operator.scaling.observation import Backlog

    spec = AgentPoolSpec.model_validate({"handler": {"command": {"argv": ["true"]}}, "gpu": {}})
    declared = Declared(resource={"metadata": {"uid": "u"}}, spec=spec)
    pool = Pool(ref=PoolRef("ns", "pool"), declared=declared, room=Room(placeable=1))
    pool.queue.backlog = Backlog()
    pool.queue.tenant_waits = {"tenant": 0.0}
    budget = BudgetUse(limit="budget", amount=1, spent=0, resets_at_ms=0)
    limit = LimitSnapshot(
        name="budget", by=None, text="", waiting=0, routes=(), free=None, interval_ms=None, budget=budget
    )
    pool.queue.snapshot = QueueSnapshot(
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
        limits=(limit,),
    )
    metrics = Metrics()
    metrics.registry.register(QueueMetrics([pool], leading=lambda: True))
    decision = SimpleNamespace(replicas=1, wanted=1, capped_by=SimpleNamespace(value="None"))
    metrics.record_decision(pool, cast("Any", decision), before=0)
    metrics.failures.labels("QueueError").inc(0)
    return metrics.registry


def worker_registry() -> CollectorRegistry:
    """Return the worker's registry with a sample job and a sample GPU."""
    from agentpool_core.queue.completions import SettleOutcome
    from agentpool_core.queue.usage import UsageReport
    from agentpool_worker.slots.gpu import GpuReading
    from agentpool_worker.telemetry.metrics import WorkerMetrics

    slots = SimpleNamespace(total=1, used=0)
    metrics = WorkerMetrics(cast("Any", slots))
    metrics.record_outcomes(["kind"], [SettleOutcome.APPLIED])
    metrics.record_end("kind", 0.0)
    metrics.record_usage("kind", [UsageReport(model="model", input_tokens=1)])
    metrics.slot_changes["settings"] += 1
    metrics.gpus = lambda: [GpuReading(index=0, utilisation=0.0, memory_used_bytes=0, memory_total_bytes=1)]
    return metrics.registry


def gateway_registry() -> CollectorRegistry:
    """Return the gateway's registry with a sample request and a sample job."""
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
