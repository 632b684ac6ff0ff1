"""The Grafana dashboard, written with Grafana's foundation SDK: a fleet overview, then a pool in detail.

Works with any Prometheus datasource, and with variables for namespace and pool. A line of a fleet panel links to the
pool. `PANELS` is the only list of queries: the tests run each against a real Prometheus. `generate.py` writes the JSON
into the chart, and the chart's template adds the link to the runbooks.
"""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as StateTimeline
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
)

from agentpool_operator.scaling.decision import Cap

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
    sort: str = "lines"  # lines, number or states
    width: int = 8  # columns
    steps: tuple[tuple[float, str], ...] = ()  # colour of a number from a value on
    below: str = "green"  # colour below the first step
    states: tuple[str, ...] = ()  # texts for the values 0, 1, …; the first is the good one
    needs: str = ""  # requirement for data; empty = any busy pool


def _quantile(share: float) -> str:
    buckets = f"sum by (le) (rate(agentpool_worker_dispatch_latency_seconds_bucket{{{OF_POOL}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"


def _by_pool(metric: str) -> str:
    return f"max by (namespace, pool) ({metric}{{{OF_POOL}}})"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{OF_POOL}}}[$__rate_interval]))"


def _top(metric: str) -> str:
    """Return the largest pools by a metric: a fleet of hundreds stays readable."""
    return f"topk({TOP}, {metric})"


def _run_time(share: float) -> str:
    buckets = f"sum by (le, kind) (rate(agentpool_worker_job_run_seconds_bucket{{{OF_POOL}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"


def _request_time(share: float) -> str:
    buckets = "sum by (le, route) (rate(agentpool_gateway_request_seconds_bucket[$__rate_interval]))"
    return _top(f"histogram_quantile({share}, {buckets})")


def _number_of_limit() -> str:
    """Return the number of the reason that limits a pool; 0 without a limit."""
    by = [f'{{{OF_POOL},by="{name}"}}' for name in (Cap.NONE.value, *LIMITS)]
    return " or ".join(
        f"{number} * (max by (namespace, pool) (agentpool_pool_capped{labels}) == 1)"
        for number, labels in enumerate(by)
    )


LIMITS = tuple(cap.value for cap in Cap if cap is not Cap.NONE)
TOP = 10  # pools, or routes, of a panel of the fleet
FLEET, POOL, WORKERS, GATEWAY, OPERATOR = "Fleet", "Pool", "Workers", "Gateway", "Operator"
ENDED = _rate("agentpool_worker_jobs_total", "namespace, pool").replace(OF_POOL, f'{OF_POOL},outcome=~"applied|dead"')
FAILED = _rate("agentpool_worker_jobs_total", "namespace, pool").replace(OF_POOL, f'{OF_POOL},outcome="dead"')
LABELS = "var-namespace=${__field.labels.namespace}&var-pool=${__field.labels.pool}"
TO_POOL = f"/d/${{__dashboard.uid}}?{LABELS}&${{__url_time_range}}"

PANELS: tuple[View, ...] = (
    View(row=FLEET, title="Pools", text="Served AgentPools.", sort="number", width=4,
         queries=(("max(agentpool_operator_pools)", "pools"),)),
    View(row=FLEET, title="Waiting", text="Jobs that wait for a slot, over all pools.", sort="number", width=4,
         steps=((1_000, "orange"),),
         queries=(("sum(max by (namespace, pool) (agentpool_pool_queued_jobs))", "jobs"),)),
    View(row=FLEET, title="Running", text="Running jobs, over all pools.", sort="number", width=4,
         queries=(("sum(max by (namespace, pool) (agentpool_pool_running_jobs))", "jobs"),)),
    View(row=FLEET, title="Workers", text="Ready workers, over all pools.", sort="number", width=4,
         queries=(("sum(max by (namespace, pool) (agentpool_pool_ready_replicas))", "workers"),)),
    View(row=FLEET, title="Dead letters", text="Jobs that failed for good and were not replayed or removed.",
         sort="number", width=4, steps=((1, "orange"), (100, "red")),
         queries=(("sum(max by (namespace, pool) (agentpool_pool_dead_jobs))", "jobs"),)),
    View(row=FLEET, title="Leading operators", text="Exactly one operator leads; at 0 no operator scales.",
         sort="number", width=4, below="red", steps=((1, "green"),),
         queries=(("sum(agentpool_operator_leading)", "operators"),)),
    View(row=FLEET, title="Oldest wait by pool", text="The longest wait of a ready job, in the ten pools with the "
         "longest waits. A click on a line opens its pool.", unit="s", width=12,
         queries=((_top("max by (namespace, pool) (agentpool_pool_oldest_wait_seconds)"), "{{namespace}}/{{pool}}"),)),
    View(row=FLEET, title="Jobs ended by pool", text="Jobs ended each second, with any outcome, in the ten busiest "
         "pools. A click on a line opens its pool.", unit="ops", width=12,
         queries=((_top("max by (namespace, pool) (rate(agentpool_pool_finished_jobs_total[$__rate_interval]))"),
                   "{{namespace}}/{{pool}}"),)),
    View(row=POOL, title="Queue by priority", text="Ready jobs by priority.",
         queries=(((f"sum by (priority) (max by (namespace, pool, route, priority) "
                   f"(agentpool_pool_route_queued_jobs{{{OF_POOL}}}))"), "{{priority}}"),)),
    View(row=POOL, title="Queue by route", text="Ready jobs by route.",
         queries=(((f"sum by (route) (max by (namespace, pool, route, priority) "
                   f"(agentpool_pool_route_queued_jobs{{{OF_POOL}}}))"), "{{route}}"),)),
    View(row=POOL, title="Submitted against finished", text="Jobs submitted and ended each second. The queue "
         "grows while more are submitted.", unit="ops",
         queries=((_rate("agentpool_pool_submitted_jobs_total", "pool"), "submitted {{pool}}"),
                  (_rate("agentpool_pool_finished_jobs_total", "pool"), "finished {{pool}}"))),
    View(row=POOL, title="Waiting for limits", text="Jobs that a limit of the pool holds, by the name of the limit.",
         needs="a pool with limits",
         queries=((f"max by (namespace, pool, limit) (agentpool_pool_limit_waiting_jobs{{{OF_POOL}}})",
                   "{{limit}} {{pool}}"),)),
    View(row=POOL, title="Budgets", text="Money of the present window that jobs have spent, and the amount of the "
         "budget. Budgets by tenant and key: agentpool limits list.", needs="a pool with a budget",
         queries=((f"max by (namespace, pool, limit) (agentpool_pool_budget_spent{{{OF_POOL}}})",
                   "spent {{limit}} {{pool}}"),
                  (f"max by (namespace, pool, limit) (agentpool_pool_budget_amount{{{OF_POOL}}})",
                   "amount {{limit}} {{pool}}"))),
    View(row=POOL, title="Longest waits by tenant", text="The wait of a tenant's oldest ready job, for the ten tenants "
         "with the longest waits. Jobs that a limit holds are not among them.", unit="s", needs="jobs with tenants",
         queries=((_top(f"max by (namespace, pool, tenant) (agentpool_pool_tenant_oldest_wait_seconds{{{OF_POOL}}})"),
                   "{{tenant}} {{pool}}"),)),
    View(row=POOL, title="Scheduled and blocked", text="Jobs that wait for their time, or for other jobs.",
         queries=((_by_pool("agentpool_pool_scheduled_jobs"), "scheduled {{pool}}"),
                  (_by_pool("agentpool_pool_blocked_jobs"), "blocked {{pool}}"))),
    View(row=POOL, title="Oldest wait", text="The longest wait of a ready job, and the target of the pool.", unit="s",
         queries=((_by_pool("agentpool_pool_oldest_wait_seconds"), "{{pool}}"),
                  (_by_pool("agentpool_pool_target_wait_seconds"), "target {{pool}}"))),
    View(row=POOL, title="Dispatch latency", text="Time from ready to claimed, first attempts. Milliseconds while a "
         "slot is free.", unit="s",
         queries=((_quantile(0.5), "p50"), (_quantile(0.95), "p95"), (_quantile(0.99), "p99"))),
    View(row=POOL, title="Running against slots", text="Running jobs, the slots that they take, and the slots of the "
         "live workers.",
         queries=((_by_pool("agentpool_pool_running_jobs"), "running {{pool}}"),
                  (_by_pool("agentpool_pool_slots_used"), "used {{pool}}"),
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
    View(row=POOL, title="Limit of the size", text="Reason that keeps the size from the demand; the runbook of "
         "AgentPoolOldestWaitHigh has a remedy for each.", sort="states", states=("no limit", *LIMITS),
         queries=((_number_of_limit(), "{{pool}}"),)),
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
    View(row=WORKERS, title="Failure ratio", text="Share of jobs that failed for good, of those that succeeded or "
         "failed.", unit="percentunit",
         queries=((f"({FAILED} or 0 * {ENDED}) / {ENDED}", "{{pool}}"),)),
    View(row=WORKERS, title="Run time by kind", text="Duration of attempts: half of them, and 95 of 100, are shorter.",
         unit="s", queries=((_run_time(0.5), "p50 {{kind}}"), (_run_time(0.95), "p95 {{kind}}"))),
    View(row=WORKERS, title="Usage of models", text="Tokens each second, as handlers report them.", unit="ops",
         needs="handlers that report usage",
         queries=((_rate("agentpool_worker_tokens_total", "pool, direction"), "{{direction}} {{pool}}"),)),
    View(row=WORKERS, title="Cost of models", text="Money each hour, in the unit that handlers report: the ten most "
         "expensive pairs of kind and model. By tenant: agentpool usage.", needs="handlers that report usage",
         queries=((_top(f"3600 * {_rate('agentpool_worker_cost_total', 'kind, model')}"), "{{kind}} {{model}}"),)),
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
    View(row=GATEWAY, title="Requests by status", text="Answers each second, by HTTP status.", unit="ops",
         needs="a gateway",
         queries=(("sum by (status) (rate(agentpool_gateway_requests_total[$__rate_interval]))", "{{status}}"),)),
    View(row=GATEWAY, title="Slowest routes", text="95 of 100 requests of a route begin their answer sooner. "
         "Long-polls wait on purpose.", unit="s", needs="a gateway", queries=((_request_time(0.95), "{{route}}"),)),
    View(row=GATEWAY, title="Open streams", text="Event streams that clients read.", needs="a gateway",
         queries=(("sum(agentpool_gateway_streams)", "streams"),)),
    View(row=OPERATOR, title="Duration of a pass", text="A pass of the scaling loop over all pools.", unit="s",
         queries=((("histogram_quantile(0.99, sum by (le) "
                             "(rate(agentpool_operator_pass_seconds_bucket[$__rate_interval])))"), "p99"),)),
    View(row=OPERATOR, title="Decisions", text="Decisions about sizes each second, over all pools.", unit="ops",
         queries=(("sum(rate(agentpool_operator_decisions_total[$__rate_interval]))", "decisions"),)),
    View(row=OPERATOR, title="Failed passes", text="Failed passes over a pool, by error.", unit="ops",
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
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
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


def _panel(view: View) -> Stat | StateTimeline | TimeSeries:
    panel: Stat | StateTimeline | TimeSeries
    if view.sort == "number":
        panel = Stat().height(4).thresholds(_thresholds(view))
    elif view.sort == "states":
        panel = StateTimeline().height(8).mappings([_texts(view)])
    else:
        panel = _lines(view)
    panel = panel.title(view.title).description(view.text).datasource(DATASOURCE).unit(view.unit).span(view.width)
    for number, (expression, legend_text) in enumerate(view.queries):
        query = Dataquery().expr(expression).legend_format(legend_text).ref_id(chr(ord("A") + number))
        panel = panel.with_target(query)
    return panel


def _lines(view: View) -> TimeSeries:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    panel = TimeSeries().height(8).min(0).legend(legend.show_legend(True))
    if view.row == FLEET:
        link = DashboardLink("Open the pool").type(DashboardLinkType.LINK).url(TO_POOL)
        panel = panel.data_links([link])
    return panel


def _texts(view: View) -> ValueMap:
    colors = ("green", *("orange" for _ in view.states[1:]))
    texts = zip(view.states, colors, strict=True)
    return ValueMap(
        options={str(value): ValueMappingResult(text=text, color=color) for value, (text, color) in enumerate(texts)}
    )


def _thresholds(view: View) -> ThresholdsConfig:
    steps = [
        Threshold(value=None, color=view.below),
        *(Threshold(value=value, color=color) for value, color in view.steps),
    ]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
