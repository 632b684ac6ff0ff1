"""The dashboard's queries, asked of a real Prometheus that scrapes the chart-installed operator and real workers.

With AGENTPOOL_DASHBOARD_PICTURE=FILE (and matplotlib) it also draws what a pool's busy two minutes look like; the
picture in docs/operate.md is made so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import ROOT
from tests.fixtures.local_system import eventually
from tests.fixtures.redis import free_port
from tests.fixtures.release_ground import Ground

sys.path.insert(0, str(ROOT / "tools"))

from dashboard import PANELS
from dashboard_picture import drawn

PICTURE = os.environ.get("AGENTPOOL_DASHBOARD_PICTURE", "")
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


# A morning in two minutes: waves of three kinds on three routes, of which some fail and some for good.
STUDIO = """
apiVersion: agentpool.dev/v1alpha1
kind: AgentPool
metadata: {name: studio, namespace: agents}
spec:
  handler:
    command:
      argv:
      - sh
      - -c
      - |
        case "$AGENTPOOL_KIND" in code) sleep 0.4;; text) sleep 0.2;; plan) sleep 1.5;; esac
        case "$(cat)" in *7) exit 65;; *3) test "$AGENTPOOL_ATTEMPT" -gt 1;; esac
  worker: {concurrency: 4, drainSeconds: 10}
  routes:
  - {name: code, kinds: [code], maxRunning: 5}
  - {name: text, kinds: [text], maxRunning: 3}
  - {name: plan, kinds: [plan]}
  queue: {retry: {initialSeconds: 1}}
  scaling: {maxReplicas: 6, pollSeconds: 1, idleSeconds: 10, behavior: {scaleDown: {stabilizationWindowSeconds: 5}}}
  gpu: {perWorker: 1}
"""
WAVES = (
    ("code", 60, "task"),
    ("text", 60, "info"),
    ("plan", 20, "critical"),
    ("text", 80, "task"),
    ("plan", 40, "task"),
)
WAVE_GAP_S = 15.0
QUIET_S = 25.0  # for the workers to go, within the picture


class Prometheus:
    """A real server with a configuration of the test's own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.targets = directory / "targets.json"
        self.targets.write_text("[]")
        self.url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [
                {
                    "job_name": "agentpool",
                    "honor_labels": True,
                    "file_sd_configs": [{"files": [str(self.targets)], "refresh_interval": "1s"}],
                }
            ],
        }
        (directory / "prometheus.yaml").write_text(json.dumps(config))
        self._log = (directory / "log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yaml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, query: str) -> list[Any]:
        """The series of an instant query; none while it does not answer yet."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?query={urllib.parse.quote(query)}") as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.URLError as error:
            if isinstance(error, urllib.error.HTTPError):
                pytest.fail(f"{query}: {error.read().decode()}")
            return []

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """A real Prometheus."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not on PATH; Debian has a package of that name")
    server = Prometheus(tmp_path / "prometheus")
    yield server
    server.close()


def targets(ground: Ground) -> list[dict[str, Any]]:
    """Operator and workers, labelled as the chart's monitors label them."""
    pods = json.loads(ground.shell("kubectl --namespace agents get pods --output json"))["items"]
    found = []
    for pod in pods:
        labels = {"namespace": "agents", "pod": pod["metadata"]["name"]}
        pool = pod["metadata"]["labels"].get("agentpool.dev/pool")
        address = pod["status"].get("podIP")
        if address and pool:
            found.append({"targets": [f"{address}:8080"], "labels": labels | {"pool": pool}})
        elif address:
            found.append({"targets": [f"{address}:8081"], "labels": labels})
    return found


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


@pytest.mark.timeout(400)
@pytest.mark.skipif(not PICTURE, reason="AGENTPOOL_DASHBOARD_PICTURE=FILE draws the picture of the documents")
def test_the_picture_of_the_documents(helm_ground: Ground, prometheus: Prometheus):
    """Two minutes of a pool's life, drawn; only the panels stay empty that need what is not here."""
    install(helm_ground, STUDIO, "studio")
    began = time.time()
    waves, next_at = list(WAVES), time.monotonic()
    while waves or time.monotonic() < next_at + QUIET_S:
        if waves and time.monotonic() >= next_at:
            kind, count, priority = waves.pop(0)
            submit(helm_ground, "studio", kind, count, priority)
            next_at = time.monotonic() + WAVE_GAP_S
        prometheus.targets.write_text(json.dumps(targets(helm_ground)))
        time.sleep(0.5)  # the pace of looking for new workers to scrape
    variables = {"namespace": "agents", "pool": "studio", "__rate_interval": "5s"}
    empty = drawn(prometheus.url, Path(PICTURE), variables=variables, began=began, ended=time.time())
    assert set(empty) == {view.title for view in PANELS if view.needs in ABSENT}


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
