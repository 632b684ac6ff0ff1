"""The worker's metrics, by the Prometheus naming rules: base units, `_total`, few and bounded label values.

Events of every job are counted in plain integers and lists, which costs a fraction of a microsecond; they become metric
families only on a scrape. Writers live in the jobs' event loop, the scrape in a different thread: it may see a value a
moment older than the next, never a broken value. Histograms are classic: Prometheus scrapes native histograms as
protobuf, which its Python client does not write. `agentpool_worker.telemetry.health` serves `exposition` at /metrics.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from agentpool_core.queue.usage import BILLION
from agentpool_worker.telemetry.label_limiter import LabelLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from agentpool_core.jobs import Lease
    from agentpool_core.queue.completions import SettleOutcome
    from agentpool_core.queue.usage import UsageReport
    from agentpool_worker.slots.gpu import GpuReading
    from agentpool_worker.slots.semaphore import Slots

DISPATCH_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
RUN_BOUNDS_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
LAG_BOUNDS_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class Distribution:
    """A histogram in plain numbers."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)  # seconds, upper and inclusive
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Return cumulative counts by upper bound, and the sum, in the form of an exposition."""
        cumulative: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*self._bounds, None), self._counts, strict=True):
            total += count
            cumulative.append(("+Inf" if bound is None else repr(float(bound)), total))
        return cumulative, self._sum


class WorkerMetrics:
    """All metrics of a worker."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._jobs: Counter[tuple[str, str]] = Counter()  # by (kind, outcome)
        self._kinds = LabelLimiter(others="other")
        self._dispatch = Distribution(DISPATCH_BOUNDS_SECONDS)
        self._run: dict[str, Distribution] = {}
        self._lag = Distribution(LAG_BOUNDS_SECONDS)
        self._usage: Counter[tuple[str, str, str]] = Counter()  # by (kind, model, measure)
        self._models = LabelLimiter(others="other\nother")  # of pairs of kind and model
        self.slot_changes: Counter[str] = Counter()  # by adaptive.Reason
        self.gpus: Callable[[], Sequence[GpuReading]] = tuple
        self.abandoned = 0  # attempts that did not stop within their grace
        self.renewals = 0
        self.renewal_failures = 0
        self.leases_lost = 0  # times the worker's lease ran out under running jobs
        self.reconnects = 0  # outages that are over, however many calls each failed
        self.loop_blocks = 0  # times that the event loop was blocked for longer than the warning limit
        self.reconciliations = 0  # disagreements with the queue about jobs in hand that were resolved
        self.resolved = 0  # contradictions between the pool's keys that this worker's maintenance resolved
        self.recovered = 0  # jobs that this worker's maintenance recovered from lost workers
        self.draining = False
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def record_start(self, lease: Lease) -> None:
        """Record the start of an attempt; the first attempt's wait since ready is the dispatch latency."""
        if lease.attempt == 1:
            self._dispatch.observe((lease.claimed_at_ms - lease.enqueued_at_ms) / 1000)

    def record_end(self, kind: str, seconds: float) -> None:
        """Record the end of an attempt's handler, with any outcome."""
        run = self._run.get(kind)
        if run is None:
            run = self._run.setdefault(self._kinds.name(kind), Distribution(RUN_BOUNDS_SECONDS))
        run.observe(seconds)

    def record_outcomes(self, kinds: Iterable[str], outcomes: Iterable[SettleOutcome]) -> None:
        """Record the queue's outcomes of a batch."""
        for (kind, outcome), count in Counter(zip(kinds, outcomes, strict=True)).items():
            self._jobs[self._kinds.name(kind), outcome.value] += count

    def record_usage(self, kind: str, reports: Iterable[UsageReport]) -> None:
        """Record usage of models that the queue has stored."""
        for report in reports:
            kind_name, _, model = self._models.name(f"{kind}\n{report.model}").partition("\n")
            self._usage[kind_name, model, "input"] += report.input_tokens
            self._usage[kind_name, model, "output"] += report.output_tokens
            self._usage[kind_name, model, "cost"] += report.cost_billionths

    def record_lag(self, seconds: float) -> None:
        """Record the delay of a turn of the event loop."""
        self._lag.observe(seconds)

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def outcomes(self) -> dict[str, int]:
        """Return the settled attempts by outcome, over all kinds."""
        totals: Counter[str] = Counter()
        for (_, outcome), count in list(self._jobs.items()):
            totals[outcome] += count
        return dict(totals)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, for the registry."""
        yield from self._counters()
        yield from self._gauges()
        yield _histogram(
            "agentpool_worker_dispatch_latency_seconds",
            "Time from ready to claimed; first attempts only.",
            self._dispatch,
        )
        yield _histogram("agentpool_worker_event_loop_lag_seconds", "Delay of event-loop iterations.", self._lag)
        family = HistogramMetricFamily(
            "agentpool_worker_job_run_seconds", "Run time of attempts, by kind of job.", labels=["kind"]
        )
        for kind, run in list(self._run.items()):
            buckets, total = run.buckets()
            family.add_metric([kind], buckets, total)
        yield family

    def _counters(self) -> Iterator[Metric]:
        jobs = CounterMetricFamily(
            "agentpool_worker_jobs",
            "Ended attempts by outcome in the queue.",
            labels=["kind", "outcome"],
        )
        for labels, count in list(self._jobs.items()):
            jobs.add_metric(labels, count)
        yield jobs
        yield from self._usage_counters()
        changes = CounterMetricFamily(
            "agentpool_worker_slot_changes", "Changes of the number of slots, by reason.", labels=["reason"]
        )
        for reason, count in list(self.slot_changes.items()):
            changes.add_metric([reason], count)
        yield changes
        for name, text, value in (
            ("abandoned_jobs", "Attempts that did not stop within the grace period.", self.abandoned),
            ("lease_renewals", "Heartbeats that Redis confirmed.", self.renewals),
            ("lease_renewal_failures", "Heartbeats that did not reach Redis.", self.renewal_failures),
            ("leases_lost", "Expired leases of the worker.", self.leases_lost),
            ("redis_reconnects", "Ended outages of Redis.", self.reconnects),
            ("event_loop_blocks", "Event-loop blocks by a handler.", self.loop_blocks),
            ("reconciliations", "Disagreements with the queue that were resolved.", self.reconciliations),
            ("resolved_contradictions", "Contradictions within the queue that maintenance resolved.", self.resolved),
            ("recovered_jobs", "Jobs recovered from lost workers.", self.recovered),
        ):
            yield CounterMetricFamily(f"agentpool_worker_{name}", text, value=value)

    def _usage_counters(self) -> Iterator[Metric]:
        tokens = CounterMetricFamily(
            "agentpool_worker_tokens",
            "Tokens of models, as handlers report; direction is input or output.",
            labels=["kind", "model", "direction"],
        )
        cost = CounterMetricFamily(
            "agentpool_worker_cost",
            "Money for models, in the unit that handlers report.",
            labels=["kind", "model"],
        )
        for (kind, model, measure), value in list(self._usage.items()):
            if measure == "cost":
                cost.add_metric([kind, model], value / BILLION)
            else:
                tokens.add_metric([kind, model, measure], value)
        yield from (tokens, cost)

    def _gauges(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("agentpool_worker_slots", "Slots: jobs that may run at once.", value=self._slots.total)
        yield GaugeMetricFamily("agentpool_worker_slots_used", "Slots that running jobs take.", value=self._slots.used)
        yield GaugeMetricFamily("agentpool_worker_draining", "1 while the worker is leaving.", value=int(self.draining))
        readings = self.gpus()
        if not readings:  # absent is absent, not zero
            return
        busy = GaugeMetricFamily("agentpool_worker_gpu_utilisation_ratio", "Share of time in use.", labels=["gpu"])
        used = GaugeMetricFamily("agentpool_worker_gpu_memory_used_bytes", "Memory in use.", labels=["gpu"])
        size = GaugeMetricFamily("agentpool_worker_gpu_memory_bytes", "Memory in all.", labels=["gpu"])
        for gpu in readings:
            if gpu.utilisation is not None:
                busy.add_metric([str(gpu.index)], gpu.utilisation)
            used.add_metric([str(gpu.index)], gpu.memory_used_bytes)
            size.add_metric([str(gpu.index)], gpu.memory_total_bytes)
        yield from (busy, used, size)


def _histogram(name: str, text: str, distribution: Distribution) -> HistogramMetricFamily:
    buckets, total = distribution.buckets()
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)
