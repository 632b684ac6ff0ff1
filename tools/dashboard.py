"""The Grafana dashboard, written with Grafana's foundation SDK: a fleet overview, then a pool in detail.

Works with any Prometheus datasource, and with variables for namespace and pool. `PANELS` is the only list of queries:
the tests run each against a real Prometheus. `generate.py` writes the JSON into the chart.
"""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import AnnotationQuery, Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
OF_POOL = 'namespace=~"$namespace",pool=~"$pool"'
WIDTH = 24  # columns of a Grafana row


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A panel: its text and its queries."""

    row: str
    title: str
    text: str  # meaning of the panel, and hints for reading
    queries: tuple[tuple[str, str], ...]  # PromQL and legend
    unit: str = "short"
    sort: str = "lines"  # lines, number or table
    width: int = 8  # columns
    needs: str = ""  # requirement for data; empty = any busy pool


def _quantile(share: float) -> str:
    buckets = f"sum by (le) (rate(agentpool_worker_dispatch_latency_seconds_bucket{{{OF_POOL}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"


def _by_pool(metric: str) -> str:
    return f"max by (namespace, pool) ({metric}{{{OF_POOL}}})"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{OF_POOL}}}[$__rate_interval]))"


FLEET, POOL, WORKERS, OPERATOR = "Fleet", "Pool", "Workers", "Operator"

PANELS: tuple[View, ...] = (
    View(row=FLEET, title="Pools", text="Served AgentPools.", sort="number", width=4,
         queries=(("max(agentpool_operator_pools)", "pools"),)),
    View(row=FLEET, title="Waiting", text="Jobs that wait for a slot, over all pools.", sort="number", width=4,
         queries=(("sum(max by (namespace, pool) (agentpool_pool_queued_jobs))", "jobs"),)),
    View(row=FLEET, title="Running", text="Running jobs, over all pools.", sort="number", width=4,
         queries=(("sum(max by (namespace, pool) (agentpool_pool_running_jobs))", "jobs"),)),
    View(row=FLEET, title="Workers", text="Ready workers, over all pools.", sort="number", width=4,
         queries=(("sum(max by (namespace, pool) (agentpool_pool_ready_replicas))", "workers"),)),
    View(row=FLEET, title="Dead letters", text="Jobs that failed for good and were not replayed or removed.",
         sort="number", width=4,
         queries=(("sum(max by (namespace, pool) (agentpool_pool_dead_jobs))", "jobs"),)),
    View(row=FLEET, title="Leading operators", text="Exactly one operator leads; at 0 no operator scales.",
         sort="number", width=4, queries=(("sum(agentpool_operator_leading)", "operators"),)),
    View(row=FLEET, title="Oldest wait by pool", text="The longest wait of a ready job.", unit="s", width=12,
         queries=(("max by (namespace, pool) (agentpool_pool_oldest_wait_seconds)", "{{namespace}}/{{pool}}"),)),
    View(row=FLEET, title="Jobs ended by pool", text="Jobs ended each second, with any outcome.", unit="ops", width=12,
         queries=(("max by (namespace, pool) (rate(agentpool_pool_finished_jobs_total[$__rate_interval]))",
                   "{{namespace}}/{{pool}}"),)),
    View(row=POOL, title="Queue by priority", text="Ready jobs by priority.",
         queries=(((f"sum by (priority) (max by (namespace, pool, route, priority) "
                   f"(agentpool_pool_route_queued_jobs{{{OF_POOL}}}))"), "{{priority}}"),)),
    View(row=POOL, title="Queue by route", text="Ready jobs by route.",
         queries=(((f"sum by (route) (max by (namespace, pool, route, priority) "
                   f"(agentpool_pool_route_queued_jobs{{{OF_POOL}}}))"), "{{route}}"),)),
    View(row=POOL, title="Scheduled and blocked", text="Jobs that wait for their time, or for other jobs.",
         queries=((_by_pool("agentpool_pool_scheduled_jobs"), "scheduled {{pool}}"),
                  (_by_pool("agentpool_pool_blocked_jobs"), "blocked {{pool}}"))),
    View(row=POOL, title="Oldest wait", text="The longest wait of a ready job, and the target of the pool.", unit="s",
         queries=((_by_pool("agentpool_pool_oldest_wait_seconds"), "{{pool}}"),
                  (_by_pool("agentpool_pool_target_wait_seconds"), "target {{pool}}"))),
    View(row=POOL, title="Dispatch latency", text="Time from ready to claimed, first attempts. Milliseconds while a "
         "slot is free.", unit="s",
         queries=((_quantile(0.5), "p50"), (_quantile(0.95), "p95"), (_quantile(0.99), "p99"))),
    View(row=POOL, title="Running against slots", text="Running jobs, and the slots of the live workers.",
         queries=((_by_pool("agentpool_pool_running_jobs"), "running {{pool}}"),
                  (_by_pool("agentpool_pool_slots"), "slots {{pool}}"))),
    View(row=POOL, title="Running by route", text="Running jobs and limit of each route.",
         queries=((f"max by (namespace, pool, route) (agentpool_pool_route_running_jobs{{{OF_POOL}}})",
                   "running {{route}}"),
                  (f"max by (namespace, pool, route) (agentpool_pool_route_limit_jobs{{{OF_POOL}}})",
                   "limit {{route}}"))),
    View(row=POOL, title="Workers", text="Demand of the work, desired and ready replicas.",
         queries=((_by_pool("agentpool_pool_wanted_replicas"), "demand {{pool}}"),
                  (_by_pool("agentpool_pool_desired_replicas"), "desired {{pool}}"),
                  (_by_pool("agentpool_pool_ready_replicas"), "ready {{pool}}"))),
    View(row=POOL, title="Limit of the size", text="Reason that keeps the size from the demand; None without a limit.",
         sort="table",
         queries=((f"max by (namespace, pool, by) (agentpool_pool_capped{{{OF_POOL}}}) == 1", "{{by}}"),)),
    View(row=POOL, title="GPU capacity", text="Workers that fit on the nodes, and GPUs that the pool holds.",
         needs="a pool with spec.gpu",
         queries=((_by_pool("agentpool_pool_placeable_workers"), "workers that fit {{pool}}"),
                  (_by_pool("agentpool_pool_gpus_held"), "GPUs held {{pool}}"))),
    View(row=POOL, title="Dead letters", text="Jobs that failed for good.",
         queries=((_by_pool("agentpool_pool_dead_jobs"), "{{pool}}"),)),
    View(row=POOL, title="Changes of size", text="Rate of scale-out and scale-in.", unit="ops",
         queries=((_rate("agentpool_pool_size_changes_total", "pool, direction"), "{{pool}} {{direction}}"),)),
    View(row=WORKERS, title="Outcomes", text="Outcomes of ended attempts: applied is success, retrying and dead are "
         "failures.", unit="ops",
         queries=((_rate("agentpool_worker_jobs_total", "outcome"), "{{outcome}}"),)),
    View(row=WORKERS, title="Ended attempts by kind", text="Ended attempts each second, by kind of job.", unit="ops",
         queries=((_rate("agentpool_worker_jobs_total", "kind"), "{{kind}}"),)),
    View(row=WORKERS, title="Mean run time by kind", text="Mean duration of attempts.", unit="s",
         queries=(((f"{_rate('agentpool_worker_job_run_seconds_sum', 'kind')} / "
                   f"{_rate('agentpool_worker_job_run_seconds_count', 'kind')}"), "{{kind}}"),)),
    View(row=WORKERS, title="Lost leases and failed renewals", text="Both should be 0: a lost lease means that "
         "jobs ran again.", unit="ops",
         queries=((_rate("agentpool_worker_leases_lost_total", "pool"), "lost {{pool}}"),
                  (_rate("agentpool_worker_lease_renewal_failures_total", "pool"), "failed renewals {{pool}}"))),
    View(row=WORKERS, title="GPU in use", text="Share of time in which a kernel ran.", unit="percentunit",
         needs="workers with a GPU",
         queries=((f"agentpool_worker_gpu_utilisation_ratio{{{OF_POOL}}}", "{{pod}} {{gpu}}"),)),
    View(row=WORKERS, title="GPU memory in use", text="Share of the memory.", unit="percentunit",
         needs="workers with a GPU",
         queries=(((f"agentpool_worker_gpu_memory_used_bytes{{{OF_POOL}}} / "
                   f"agentpool_worker_gpu_memory_bytes{{{OF_POOL}}}"), "{{pod}} {{gpu}}"),)),
    View(row=OPERATOR, title="Duration of a pass", text="A pass of the scaling loop over all pools.", unit="s",
         width=12, queries=((("histogram_quantile(0.99, sum by (le) "
                             "(rate(agentpool_operator_pass_seconds_bucket[$__rate_interval])))"), "p99"),)),
    View(row=OPERATOR, title="Failed passes", text="Failed passes over a pool, by error.", unit="ops", width=12,
         needs="a failed pass",
         queries=(("sum by (error) (rate(agentpool_operator_failures_total[$__rate_interval]))", "{{error}}"),)),
)  # fmt: skip
# Grafana asks for annotations a minute apart. The step is 15 s, the scrape interval of the monitors: without its own
# step a subquery takes Prometheus' evaluation interval, a minute by default, and then misses changes.
SCALED = f"changes({_by_pool('agentpool_pool_desired_replicas')}[1m:15s]) > 0"
NAMESPACES = "label_values(agentpool_pool_desired_replicas, namespace)"
POOLS = 'label_values(agentpool_pool_desired_replicas{namespace=~"$namespace"}, pool)'


def dashboard_json() -> str:
    """Return the dashboard in the format of Grafana and its sidecar."""
    builder = (
        Dashboard("AgentPool")
        .uid("agentpool")
        .tags(["agentpool"])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .with_variable(DatasourceVariable("datasource").label("Datasource").type("prometheus"))
        .with_variable(_variable("namespace", NAMESPACES))
        .with_variable(_variable("pool", POOLS))
        .annotation(
            AnnotationQuery()
            .name("Scaling decisions")
            .datasource(DATASOURCE)
            .enable(True)
            .icon_color("blue")
            .expr(SCALED)
        )
    )
    row = ""
    for view in PANELS:
        if view.row != row:
            row = view.row
            builder = builder.with_row(Row(row))
        builder = builder.with_panel(_panel(view))
    return JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"


def _variable(name: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(name.title())
        .datasource(DATASOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
    )


def _panel(view: View) -> Stat | Table | TimeSeries:
    panel: Stat | Table | TimeSeries
    if view.sort == "number":
        panel = Stat().height(4)
    elif view.sort == "table":
        panel = Table().height(8)
    else:
        legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        panel = TimeSeries().height(8).min(0).legend(legend.show_legend(True))
    panel = panel.title(view.title).description(view.text).datasource(DATASOURCE).unit(view.unit).span(view.width)
    for number, (expression, legend_text) in enumerate(view.queries):
        query = Dataquery().expr(expression).legend_format(legend_text).ref_id(chr(ord("A") + number))
        if view.sort == "table":
            query = query.format(PromQueryFormat.TABLE).instant()
        panel = panel.with_target(query)
    return panel
