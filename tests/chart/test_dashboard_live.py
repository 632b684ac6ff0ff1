"""The dashboard's queries, asked of a real Prometheus that scrapes the chart-installed operator and real workers."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.chart.rendering import ROOT
from tests.fixtures.local_system import eventually
from tests.fixtures.release_ground import Ground
from tests.fixtures.scraping import Prometheus, targets

sys.path.insert(0, str(ROOT / "tools"))

from dashboard import PANELS

# What no machine has by nature: these panels stay empty here.
ABSENT = {"workers with a GPU", "a pass that failed"}
POOL = """
apiVersion: agentpool.dev/v1alpha1
kind: AgentPool
metadata: {name: crunch, namespace: agents}
spec:
  handler: {command: {argv: [sh, -c, "sleep 0.05; cat"]}}
  worker: {concurrency: 2}
  routes: [{name: code, kinds: [code], maxRunning: 3}]
  scaling: {maxReplicas: 2, idleSeconds: 600}
  gpu: {perWorker: 1}
"""


def install(ground: Ground, pool: str, name: str) -> None:
    """The chart, and a pool that the operator serves."""
    if ground.record is None:
        pytest.skip("a real cluster's pods cannot be scraped from here")
    ground.shell(
        f"""
        kubectl create namespace agents
        kubectl --namespace agents create secret generic agentpool-redis --from-literal=url="$REDIS_URL"
        helm install agentpool charts/agentpool --namespace agents --set redis.existingSecret=agentpool-redis --wait
        kubectl apply --filename - <<'EOF'{pool}EOF
        kubectl --namespace agents wait --for=condition=QueueReachable agentpool/{name} --timeout 60s
        """
    )


def submit(ground: Ground, pool: str, kind: str, count: int, priority: str = "task") -> None:
    """So many jobs of a kind; each one's payload is its number."""
    to = f'--pool agents/{pool} --redis "$REDIS_URL" --priority {priority}'
    ground.shell(f'seq {count} > "$HOME/payloads"; agentpool submit {kind} --file "$HOME/payloads" {to}')


@pytest.mark.timeout(300)
def test_every_panel_has_data(helm_ground: Ground, prometheus: Prometheus):
    """With a pool at work, each query of each panel returns series, but for those that need what is not here."""
    install(helm_ground, POOL, "crunch")
    submit(helm_ground, "crunch", "code", 400)

    def workers_run() -> bool:
        prometheus.targets.write_text(json.dumps(targets(helm_ground)))
        return bool(prometheus.ask("agentpool_worker_jobs_total > 20"))

    eventually(workers_run, "Prometheus has seen workers end jobs", within_s=60)
    empty = panels_without_data(prometheus.ask)
    deadline = time.monotonic() + 30
    while empty and time.monotonic() < deadline:
        time.sleep(0.5)  # the pace of looking: rates need a few scrapes
        empty = panels_without_data(prometheus.ask)
    assert empty == []


def panels_without_data(ask: Callable[[str], list[Any]]) -> list[str]:
    """The queries that return nothing, with their panels' titles."""
    return [
        f"{view.title}: {query}"
        for view in PANELS
        if view.needs not in ABSENT
        for query, _ in view.queries
        if not ask(as_grafana_asks(query))
    ]


def as_grafana_asks(query: str) -> str:
    """The query with Grafana's variables filled in."""
    filled = query.replace("$__rate_interval", "10s").replace("$namespace", "agents").replace("$pool", "crunch|.*test")
    assert not re.search(r"\$\w", filled), filled
    return filled
