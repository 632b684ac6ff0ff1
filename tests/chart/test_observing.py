"""Metrics, dashboard and alerts agree with each other and with the code, and Prometheus accepts all of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from agentpool_core import runbooks
from agentpool_core.jobs import PoolRef
from agentpool_core.spec import AgentPoolSpec
from agentpool_operator.children.manifests import deployment
from tests.chart.rendering import CHART, ROOT, manifests, only, selects

sys.path.insert(0, str(ROOT / "tools"))

import dashboard_picture
import metrics_reference
from dashboard import NAMESPACES, PANELS, POOLS, SCALED

ALERTS, OBJECTIVES = CHART / "files/alerts.yaml", CHART / "files/slo.yaml"
HISTOGRAM = ("_bucket", "_sum", "_count")


def rules(file: Path) -> list[dict[str, Any]]:
    """Return the rules of a file."""
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def alerts(*files: Path) -> list[dict[str, Any]]:
    """Return the alerts of the files; of all files without an argument."""
    return [rule for file in files or (ALERTS, OBJECTIVES) for rule in rules(file) if "alert" in rule]


def promtool(*arguments: str, text: str = "") -> str:
    """Return the output of promtool, which must succeed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not on PATH; Debian's package prometheus has it")
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def unknown(expressions: list[str]) -> set[str]:
    """Return metrics in the expressions that the code does not emit."""
    rows = metrics_reference.rows()
    known = {row.name for row in rows if row.sort != "histogram"}
    known |= {row.name + end for row in rows if row.sort == "histogram" for end in HISTOGRAM}
    return {name for text in expressions for name in re.findall(r"\bagentpool_\w+", text)} - known


@pytest.mark.parametrize("registry", ["operator_registry", "worker_registry", "gateway_registry"])
def test_metrics_follow_the_naming_rules(registry: str):
    """Prometheus' own linter has no complaint."""
    exposition = generate_latest(getattr(metrics_reference, registry)()).decode()
    ours = [line for line in exposition.splitlines(keepends=True) if "agentpool_" in line]
    assert promtool("check", "metrics", text="".join(ours)) == ""


def test_every_metric_has_a_description():
    """Each metric has a sentence, and no two emitters share a name."""
    rows = metrics_reference.rows()
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.text.endswith(".") for row in rows)


def test_the_dashboard_uses_only_emitted_metrics():
    """Each query of a panel, an annotation or a variable uses metrics of the code."""
    asked = [query for view in PANELS for query, _ in view.queries]
    assert unknown([*asked, SCALED, NAMESPACES, POOLS]) == set()


def test_the_dashboard_works_with_any_datasource():
    """Every panel queries the chosen datasource, and the variables offer namespace and pool."""
    found = json.loads((CHART / "files/dashboard.json").read_text())
    panels = [panel for panel in found["panels"] if panel["type"] != "row"]
    assert len(panels) == len(PANELS)
    assert {panel["datasource"]["uid"] for panel in panels} == {"$datasource"}
    assert [variable["name"] for variable in found["templating"]["list"]] == ["datasource", "namespace", "pool"]
    shipped = only(manifests({"metrics": {"dashboard": {"enabled": True}}}), "ConfigMap", "agentpool-dashboard")
    board = json.loads(shipped["data"]["agentpool.json"])
    assert {name: board[name] for name in found} == found | {name: board[name] for name in ("uid", "title")}


def test_the_dashboard_leads_from_the_fleet_to_a_pool_and_to_the_runbooks():
    """The fleet shows the largest pools only, and a line opens its pool; the chart adds the link to the runbooks."""
    values = {"prometheusRule": {"runbookBase": "https://example.com/runbooks.html"}, "dashboard": {"enabled": True}}
    shipped = only(manifests({"metrics": values}), "ConfigMap", "agentpool-dashboard")
    found = json.loads(shipped["data"]["agentpool.json"])
    assert [link["url"] for link in found["links"]] == ["https://example.com/runbooks.html"]
    assert (found["editable"], found["graphTooltip"]) == (True, 1)  # 1: a crosshair in all panels
    for view, panel in zip(PANELS, (each for each in found["panels"] if each["type"] != "row"), strict=True):
        if view.row == "Fleet" and view.sort == "lines":
            (link,) = panel["fieldConfig"]["defaults"]["links"]
            assert "var-pool=${__field.labels.pool}" in link["url"]
            assert all(query.startswith("topk(") for query, _ in view.queries)


def test_two_releases_have_dashboards_of_their_own():
    """Grafana keeps a single dashboard for each uid, and for each title in a folder."""
    values = {"metrics": {"dashboard": {"enabled": True}}}

    def shipped(namespace: str) -> dict[str, Any]:
        found = only(manifests(values, namespace=namespace), "ConfigMap", "agentpool-dashboard")
        return dict(json.loads(found["data"]["agentpool.json"]))

    first, second = shipped("team-a"), shipped("team-b")
    assert first["uid"] != second["uid"]
    assert (first["title"], second["title"]) == ("AgentPool (team-a/agentpool)", "AgentPool (team-b/agentpool)")


def test_the_picture_has_every_panel_and_marks_empty_panels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The picture is drawn from a Prometheus' answers, with gaps and with values that are no numbers."""

    def asked(_url: str, query: str, began: float, _ended: float) -> list[Any]:
        if "gpu" in query:
            return []
        values = [[began, "1"], [began + 1, "NaN"], [began + 5, "3"]]
        labels = (
            "pool", "namespace", "route", "priority", "by", "outcome", "kind", "direction", "error", "limit", "status",
        )  # fmt: skip
        return [{"metric": dict.fromkeys(labels, value), "values": values} for value in ("a", "b")]

    monkeypatch.setattr(dashboard_picture, "_asked", asked)
    file = tmp_path / "picture.png"
    empty = dashboard_picture.drawn("http://prometheus", file, variables={"pool": "a"}, began=100.0, ended=110.0)
    assert empty == ["GPU in use", "GPU memory in use"]
    assert file.read_bytes().startswith(b"\x89PNG")


def test_the_service_monitor_finds_operator_and_gateway():
    """The monitor selects exactly the Services of operator and gateway, and each has the named port."""
    values = {"gateway": {"enabled": True}, "metrics": {"serviceMonitor": {"enabled": True}}}
    found = manifests(values)
    spec = only(found, "ServiceMonitor", "agentpool")["spec"]
    services = [m for m in found if m["kind"] == "Service" and selects(spec["selector"], m["metadata"]["labels"])]
    assert sorted(m["metadata"]["name"] for m in services) == ["agentpool-gateway-metrics", "agentpool-operator"]
    for service in services:
        assert {port["name"] for port in service["spec"]["ports"]} <= {one["port"] for one in spec["endpoints"]}


def test_the_gateways_metrics_are_not_on_the_service_of_its_api():
    """A load balancer or an ingress may lead to that Service, and the figures name the pools of all tenants."""
    found = manifests({"gateway": {"enabled": True, "service": {"type": "LoadBalancer"}}})
    api, metrics = (only(found, "Service", f"agentpool-{name}")["spec"] for name in ("gateway", "gateway-metrics"))
    assert (api["type"], [port["targetPort"] for port in api["ports"]]) == ("LoadBalancer", ["http"])
    assert (metrics["type"], [port["targetPort"] for port in metrics["ports"]]) == ("ClusterIP", ["metrics"])
    (container,) = only(found, "Deployment", "agentpool-gateway")["spec"]["template"]["spec"]["containers"]
    assert "--metrics-port=9090" in container["args"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8080, "metrics": 9090}


def test_the_pod_monitor_finds_workers_and_only_where_they_are_served():
    """The operator's worker pods have the monitor's labels and port, in the watched namespaces."""
    values = {"watchNamespaces": ["research"], "metrics": {"podMonitor": {"enabled": True}}}
    spec = only(manifests(values), "PodMonitor", "agentpool-workers")["spec"]
    pool = AgentPoolSpec.model_validate({"handler": {"command": {"argv": ["cat"]}}})
    made = deployment(PoolRef("research", "echo"), "uid", pool, default_image="image")["spec"]["template"]
    (worker,) = made["spec"]["containers"]
    assert selects(spec["selector"], made["metadata"]["labels"])
    assert {port["name"] for port in worker["ports"]} >= {one["port"] for one in spec["podMetricsEndpoints"]}
    assert spec["namespaceSelector"] == {"matchNames": ["research"]}
    label = spec["podMetricsEndpoints"][0]["relabelings"][0]["sourceLabels"][0]
    assert label.removeprefix("__meta_kubernetes_pod_label_") in {
        re.sub(r"\W", "_", name) for name in made["metadata"]["labels"]
    }


def test_alerts_use_only_emitted_metrics():
    """Each rule's expression uses metrics of the code, or series that a rule records."""
    assert (
        unknown([re.sub(r"\bagentpool:\w+:\w+", "", rule["expr"]) for rule in rules(ALERTS) + rules(OBJECTIVES)])
        == set()
    )
    recorded = {rule["record"] for rule in rules(OBJECTIVES) if "record" in rule}
    asked = {name for rule in rules(OBJECTIVES) for name in re.findall(r"\bagentpool:\w+:\w+", rule["expr"])}
    assert asked <= recorded


@pytest.mark.parametrize(("file", "cases"), [(ALERTS, "alerts_test.yaml"), (OBJECTIVES, "slo_test.yaml")])
def test_each_alert_fires_only_in_its_case(file: Path, cases: str):
    """The rules are valid, and pass their tests, which cover every alert."""
    promtool("check", "rules", str(file))
    tests = ROOT / "tests/chart" / cases
    assert "SUCCESS" in promtool("test", "rules", str(tests))
    expected = [case for test in yaml.safe_load(tests.read_text())["tests"] for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in expected if case["exp_alerts"]}
    silent = {case["alertname"] for case in expected if not case["exp_alerts"]}
    assert fires == silent == {rule["alert"] for rule in alerts(file)}


def test_each_alert_has_a_runbook():
    """The link of each alert leads to a heading of docs/runbooks.md, and every heading belongs to an alert."""
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in alerts())
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"


def shipped(name: str, **values: Any) -> dict[str, dict[str, Any]]:
    """Return the rules of a shipped PrometheusRule, by name."""
    found = only(manifests({"metrics": {"prometheusRule": values}}), "PrometheusRule", name)
    return {rule.get("alert", rule.get("record")): rule for group in found["spec"]["groups"] for rule in group["rules"]}


def test_the_chart_ships_the_alerts_with_the_requested_changes_only():
    """The PrometheusRule has every alert except the disabled alerts, with links to the published runbooks."""
    found = shipped(
        "agentpool", enabled=True, disabled=["AgentPoolGpuCapped"], runbookBase="https://example.com/runbooks"
    )
    wanted = {rule["alert"]: rule for rule in alerts(ALERTS) if rule["alert"] != "AgentPoolGpuCapped"}
    assert found.keys() == wanted.keys()
    for name, rule in wanted.items():
        connection = rule["annotations"]["runbook_url"].replace("docs/runbooks.md", "https://example.com/runbooks")
        assert found[name] == rule | {"annotations": rule["annotations"] | {"runbook_url": connection}}


@pytest.mark.parametrize(
    ("gateway", "page"),
    [
        ({}, "http://agentpool-operator.agents.svc:8081/docs/runbooks"),
        ({"enabled": True}, "http://agentpool-operator.agents.svc:8081/docs/runbooks"),
        ({"enabled": True, "externalUrl": "https://a.example.org/x/"}, "https://a.example.org/x/docs/runbooks"),
    ],
)
def test_links_to_the_runbooks_are_absolute_by_default(gateway, page):
    """A link leads to the page that this release serves, in each alert and on the dashboard."""
    metrics = {"prometheusRule": {"enabled": True, "slo": {"enabled": True}}, "dashboard": {"enabled": True}}
    found = manifests({"metrics": metrics, "gateway": gateway})
    rules = [each for each in found if each["kind"] == "PrometheusRule"]
    shown = [rule for each in rules for group in each["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(shown) == len(alerts())
    assert all(rule["annotations"]["runbook_url"] == f"{page}#{rule['alert'].lower()}" for rule in shown)
    board = json.loads(only(found, "ConfigMap", "agentpool-dashboard")["data"]["agentpool.json"])
    assert [link["url"] for link in board["links"]] == [page]
    anchors = set(re.findall(r'<h2 id="(\w+)">', runbooks.runbooks_page()))
    assert anchors == {rule["alert"].lower() for rule in shown}
    assert page.endswith(runbooks.PATH)


def test_a_relative_link_is_refused():
    """A relative link leads nowhere in Alertmanager."""
    with pytest.raises(Exception, match="runbookBase"):
        shipped("agentpool", enabled=True, runbookBase="docs/runbooks.md")


def test_the_chart_ships_the_objectives_that_the_user_sets():
    """The second PrometheusRule differs from the tested file by the two objectives only."""
    found = shipped(
        "agentpool-slo", slo={"enabled": True, "waitObjective": 0.995}, runbookBase="https://example.com/runbooks.html"
    )
    assert found["agentpool:wait_objective:ratio"]["expr"] == "vector(0.995)"
    assert found["agentpool:success_objective:ratio"]["expr"] == "vector(0.99)"
    for rule in rules(OBJECTIVES):
        name = rule.get("alert", rule.get("record"))
        if "objective" not in name:
            assert found[name]["expr"] == rule["expr"], name
    burning = found["AgentPoolWaitBudgetBurning"]["annotations"]["runbook_url"]
    assert burning == "https://example.com/runbooks.html#agentpoolwaitbudgetburning"
