"""The demand of a queue over HTTP, for KEDA's metrics-api scaler, by the commands of the page."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from agentpool_core.jobs import JobRequest
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.limits import Limit
from agentpool_core.queue.producer import Producer
from agentpool_core.queue.settings import PoolSettings, Route

PAGE = Path(__file__).parents[3] / "docs/external-autoscalers.md"


async def test_demand_counts_what_limits_allow(http, redis, pool, consumer):
    """Running jobs count, waiting jobs up to their limits, and a paused pool starts nothing."""
    routes = (Route(name="code", kinds=("code",), max_running=3),)
    limits = (Limit(name="text", routes=("default",), max_running=2),)
    settings = PoolSettings(concurrency=2, routes=routes, limits=limits)
    inspector = Inspector(redis)
    await inspector.configure(pool, settings)
    assert (await http.get("/demand")).json()["workers"] == 0
    await Producer(redis, pool).submit_many([JobRequest(kind=kind) for kind in ("code", "text") for _ in range(10)])
    (lease,) = await consumer.claim(1)
    found = (await http.get("/demand")).json()
    assert found == {
        "pool": str(pool), "running": 1, "startable": 4, "held_back": 15, "jobs": 5, "workers": 3,
    }  # fmt: skip
    await inspector.configure(pool, PoolSettings(concurrency=2, routes=routes, limits=limits, paused=True))
    paused = (await http.get("/demand")).json()
    assert (lease.kind, paused["jobs"], paused["workers"]) == ("code", 1, 1)


async def test_the_trigger_of_the_page_reads_a_number(http, gateway, pool):
    """The URL and the field that the page gives to KEDA exist, for any pool that the token may read."""
    await http.post("/jobs", json={"kind": "greet"})
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (text,) = [block for block in blocks if "metrics-api" in block]
    scaled, _ = yaml.safe_load_all(text)
    (trigger,) = scaled["spec"]["triggers"]
    path = urlsplit(trigger["metadata"]["url"]).path.replace("agents", pool.namespace).replace("summarizer", pool.name)
    answer = await http.get(gateway.url + path)
    assert answer.json()[trigger["metadata"]["valueLocation"]] == 1
