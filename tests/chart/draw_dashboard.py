"""Draw the picture in docs/operate.md: the dashboard over two minutes of a pool's life.

The file has no test's name, because the run takes minutes and writes into docs/. Name the file to run the drawing:
`.venv/bin/python -m pytest tests/chart/draw_dashboard.py`.
"""

from __future__ import annotations

import json
import sys
import time

import pytest

from tests.chart.rendering import ROOT
from tests.chart.test_dashboard_live import install, submit
from tests.fixtures.release_ground import Ground
from tests.fixtures.scraping import Prometheus, targets

sys.path.insert(0, str(ROOT / "tools"))

from dashboard import PANELS
from dashboard_picture import drawn

FILE = ROOT / "docs/images/dashboard.png"
ABSENT = {
    "workers with a GPU", "a failed pass", "a gateway",
}  # absent in this run  # fmt: skip
# A morning in two minutes: waves of three kinds on three routes; some jobs fail, and some fail for good.
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
        usage='{"input_tokens": 900, "output_tokens": 150, "cost": 0.01, "model": "large"}'
        curl -sf --json "$usage" "$AGENTPOOL_CONTEXT/usage"
        case "$(cat)" in *7) exit 65;; *3) test "$AGENTPOOL_ATTEMPT" -gt 1;; esac
  worker: {concurrency: 4, drainSeconds: 10}
  routes:
  - {name: code, kinds: [code], maxRunning: 5}
  - {name: text, kinds: [text], maxRunning: 3}
  - {name: plan, kinds: [plan]}
  queue:
    retry: {initialSeconds: 1}
    limits:
    - {name: provider, kinds: [text], rate: {count: 40, periodSeconds: 10}}
    - {name: today, budget: {amount: 5, windowSeconds: 86400}}
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
TENANTS = ("acme", "zeta")
WAVE_GAP_SECONDS = 15.0
QUIET_SECONDS = 25.0  # until the end of the workers, within the picture


@pytest.mark.timeout(400)
def test_draw_the_picture_of_the_documents(helm_ground: Ground, prometheus: Prometheus):
    """Draw two minutes of a pool's life; only panels without a source in this pool stay empty."""
    install(helm_ground, STUDIO, "studio")
    began = time.time()
    waves, next_at = list(WAVES), time.monotonic()
    while waves or time.monotonic() < next_at + QUIET_SECONDS:
        if waves and time.monotonic() >= next_at:
            kind, count, priority = waves.pop(0)
            submit(helm_ground, "studio", kind, count, priority, tenant=TENANTS[len(waves) % len(TENANTS)])
            next_at = time.monotonic() + WAVE_GAP_SECONDS
        prometheus.targets.write_text(json.dumps(targets(helm_ground)))
        time.sleep(0.5)  # the interval of the search for new workers to scrape
    variables = {"namespace": "agents", "pool": "studio", "__rate_interval": "5s"}
    empty = drawn(prometheus.url, FILE, variables=variables, began=began, ended=time.time())
    assert set(empty) == {view.title for view in PANELS if view.needs in ABSENT}
