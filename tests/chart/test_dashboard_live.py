"""The dashboard's queries, sent to a real Prometheus that scrapes the chart-installed operator and real workers."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.chart.rendering import CHART, ROOT
from tests.chart.test_install_page import allowed, asked, unlawful
from tests.fixtures.local_system import eventually
from tests.fixtures.redis import free_port
from tests.fixtures.release_ground import Ground
from tests.fixtures.scraping import Prometheus, targets

# Requests more workers than the node has GPUs, lets some jobs fail for good, reports usage, and reads an absent GPU.
POOL = f"""
apiVersion: agentpool.dev/v1alpha1
kind: AgentPool
metadata: {{name: crunch, namespace: agents}}
spec:
  handler:
    command:
      argv:
      - sh
      - -c
      - |
        case "$AGENTPOOL_KIND" in
        paid)
          usage='{{"input_tokens": 900, "output_tokens": 150, "cost": 0.25, "model": "m"}}'
          curl -sf --json "$usage" "$AGENTPOOL_CONTEXT/usage"
          ;;
        doomed) exit 65 ;;
        esac
        sleep 0.4
  queue:
    limits:
    - {{name: money, kinds: [paid], maxRunning: 1}}
    - {{name: today, budget: {{amount: 1000, windowSeconds: 86400}}}}
  worker:
    concurrency: 2
    template:
      spec:
        containers: [{{name: worker, env: [{{name: PYTHONPATH, value: {ROOT}/tests/fixtures/nvml}}]}}]
  routes: [{{name: code, kinds: [code], maxRunning: 9}}]
  scaling: {{maxReplicas: 5, idleSeconds: 600}}
  gpu: {{perWorker: 1}}
"""
BINDING = "clusterrolebinding/agents-agentpool-operator"
DOOMED = 3
KEDA = re.search(r"query: >-\n(.*?)```", (ROOT / "docs/external-autoscalers.md").read_text(), re.DOTALL)
# Panels with correct content in this test: each of these has series.
TELLING = {
    "what caps the pool": 'max_over_time(agentpool_pool_capped{pool="crunch",by="GPUCapacity"}[5m]) == 1',
    "two workers fit": 'agentpool_pool_placeable_workers{pool="crunch"} == 2',
    "two GPUs are held": 'max_over_time(agentpool_pool_gpus_held{pool="crunch"}[5m]) == 2',
    "a GPU is read": 'agentpool_worker_gpu_utilisation_ratio{pool="crunch"} == 0.25',
    "dead letters": f'agentpool_pool_dead_jobs{{pool="crunch"}} == {DOOMED}',
    "what a budget has spent": 'agentpool_pool_budget_spent{pool="crunch",limit="today"} >= 0.25',
    "what a budget allows": 'agentpool_pool_budget_amount{pool="crunch",limit="today"} == 1000',
    "the wait of a tenant": 'agentpool_pool_tenant_oldest_wait_seconds{pool="crunch",tenant="acme"} > 0',
    "slots in use": 'max_over_time(agentpool_pool_slots_used{pool="crunch"}[5m]) == 4',
    "the target": 'agentpool_pool_target_wait_seconds{pool="crunch"} == 5',
    "the size that the page gives to KEDA": KEDA[1].replace("summarizer", "crunch") if KEDA else "",
    "a pass that failed": 'agentpool_operator_failures_total{error="ForbiddenError"} > 0',
}


def install(ground: Ground, pool: str, name: str, more: str = "") -> None:
    """Install the chart with more arguments for helm, and a pool that the operator serves."""
    if ground.record is None:
        pytest.skip("a real cluster's pods cannot be scraped from here")
    ground.shell(
        f"""
        kubectl create namespace agents
        kubectl --namespace agents create secret generic agentpool-redis --from-literal=url="$REDIS_URL"
        kubectl --namespace agents label secret agentpool-redis agentpool.dev/redis=true
        helm install agentpool charts/agentpool --namespace agents --set redis.existingSecret=agentpool-redis {more} \
          --wait
        kubectl apply --filename - <<'EOF'{pool}EOF
        kubectl --namespace agents wait --for=condition=QueueReachable agentpool/{name} --timeout 60s
        """
    )


def submit(ground: Ground, pool: str, kind: str, count: int, priority: str = "task", tenant: str = "") -> None:
    """Submit this many jobs of a kind; each payload is a number."""
    to = f'--pool agents/{pool} --redis "$REDIS_URL" --priority {priority}' + (f" --tenant {tenant}" if tenant else "")
    ground.shell(f'seq {count} > "$HOME/payloads"; agentpool submit {kind} --file "$HOME/payloads" {to}')


@pytest.mark.timeout(400)
def test_every_query_of_the_dashboard_has_data(helm_ground: Ground, prometheus: Prometheus):
    """The queries are those of each panel, annotation and variable, with a pool at work and an operator in trouble."""
    port, metrics_port = free_port(), free_port()  # the devcluster's pods share one port space
    gateway = {"enabled": "true", "replicas": 1, "port": port, "metricsPort": metrics_port}
    install(helm_ground, POOL, "crunch", " ".join(f"--set gateway.{name}={value}" for name, value in gateway.items()))
    of_gateway = {"targets": [f"127.0.0.1:{metrics_port}"], "labels": {"namespace": "agents", "pod": "gateway"}}

    def seen(query: str) -> bool:
        prometheus.targets.write_text(json.dumps([*targets(helm_ground), of_gateway]))
        return bool(prometheus.ask(query))

    # Prometheus samples the size every quarter of a minute and marks a decision at a change: start without a decision.
    none_yet = 'count_over_time((agentpool_pool_desired_replicas{pool="crunch"} == 0)[1m:15s]) > 0'
    eventually(lambda: seen(none_yet), "Prometheus has seen the pool without workers", within_s=60)
    submit(helm_ground, "crunch", "doomed", DOOMED)
    submit(helm_ground, "crunch", "paid", 20)
    submit(helm_ground, "crunch", "code", 150)
    eventually(lambda: seen("agentpool_worker_jobs_total > 20"), "Prometheus has seen workers end jobs", within_s=60)
    helm_ground.shell(f"kubectl delete {BINDING}")
    submit(helm_ground, "crunch", "code", 50)  # news for the status, which may not be written
    eventually(lambda: seen(TELLING["a pass that failed"]), "a pass has failed", within_s=60)
    helm_ground.shell("helm upgrade agentpool charts/agentpool --namespace agents --reset-then-reuse-values --wait")
    helm_ground.shell(f"kubectl get {BINDING}")
    submit(helm_ground, "crunch", "code", 400, tenant="acme")  # they wait until the next reading of tenants
    missing = without_data(prometheus)
    deadline = time.monotonic() + 60
    while missing and time.monotonic() < deadline:
        time.sleep(0.5)  # the polling interval: rates need a few scrapes, a decision is marked within 15 s
        missing = without_data(prometheus)
    assert missing == []
    assert unlawful(asked(helm_ground), allowed({})) == set()


def without_data(prometheus: Prometheus) -> list[str]:
    """Return the queries without a result, each with a label."""
    shipped = json.loads((CHART / "files/dashboard.json").read_text())
    panels = [(f"panel {panel['title']}", panel.get("targets", [])) for panel in shipped["panels"]]
    queries = [(name, target["expr"]) for name, targets_ in panels for target in targets_]
    # An annotation is a point at which the query has a series: anywhere within the run, a quarter of a minute apart.
    queries += [(each["name"], f"max_over_time(({each['expr']})[5m:15s])") for each in shipped["annotations"]["list"]]
    missing = [f"{name}: {query}" for name, query in queries if not prometheus.ask(as_grafana_asks(query))]
    missing += [name for name, query in TELLING.items() if not prometheus.ask(query)]
    offered = {v["name"]: v["query"] for v in shipped["templating"]["list"] if v["type"] == "query"}
    wanted = {"namespace": "agents", "pool": "crunch"}
    return missing + [name for name, value in wanted.items() if value not in offers(prometheus, offered[name])]


def offers(prometheus: Prometheus, query: str) -> list[str]:
    """Return the values of a variable: `label_values(SERIES, LABEL)`, as Grafana reads them."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found is not None, query
    return prometheus.values(found[2], as_grafana_asks(found[1]))


def as_grafana_asks(query: str) -> str:
    """Fill Grafana's variables into the query."""
    filled = query.replace("$__rate_interval", "10s").replace("$namespace", "agents").replace("$pool", "crunch|.*test")
    assert not re.search(r"\$\w", filled), filled
    return filled
