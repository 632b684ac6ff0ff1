"""Guides for operators: the values of an installation without the internet, and the health check for Argo CD."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from agentpool_core.jobs import PoolRef
from agentpool_operator.pools.problems import Problem
from agentpool_operator.pools.registry import Pools
from agentpool_operator.scaling.observation import Backlog
from agentpool_operator.status.conditions import ON_ITS_WAY
from agentpool_operator.status.patch import status_of
from tests.chart.rendering import ROOT, manifests, pod_of

NOW = 1_767_225_610.0
HANDLER = {"command": {"argv": ["cat"]}}


def block(page: str, mark: str) -> Any:
    """Return the YAML of a page below a mark."""
    (text,) = re.findall(rf"<!-- {mark} -->\n```yaml\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL)
    return yaml.safe_load(text)


def test_no_image_of_an_air_gapped_installation_comes_from_elsewhere():
    """The values of the page reach each container, and the operator's default image of workers."""
    found = manifests({**block("air-gapped", "values"), "gateway": {"enabled": True}})
    pods = [pod["spec"] for manifest in found if (pod := pod_of(manifest)) and "containers" in pod.get("spec", {})]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert len(images) == 4  # the worker is that of `helm test`
    assert {image.partition("/")[0] for image in images} == {"registry.example.com"}
    arguments = [text for pod in pods for container in pod["containers"] for text in container.get("args", [])]
    assert [text for text in arguments if "registry.example.com/agentpool/agentpool-worker" in text]


def seen(problem: Problem | None = None, *, deployed: bool = True, **spec: Any) -> dict[str, Any]:
    """Return a pool with the status that the operator writes."""
    resource: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 3, "resourceVersion": "9"},
        "spec": {"handler": HANDLER, **spec},
    }
    owner = {"uid": "u", "controller": True}
    metadata = {"name": "p", "namespace": "ns", "uid": "d", "generation": 1, "ownerReferences": [owner]}
    pools = Pools()
    pools.see_pool(resource)
    if deployed:
        pools.see_deployment({"metadata": metadata, "spec": {"replicas": 0}, "status": {"observedGeneration": 1}})
    pool = pools.get(PoolRef("ns", "p"))
    assert pool is not None
    pool.queue.backlog, pool.queue.was_read, pool.queue.problem = Backlog(), True, problem
    return resource | {"status": status_of(pool, now=NOW)}


UNREACHABLE = Problem(reason="RedisUnreachable", message="Redis does not answer")


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"metadata": {"generation": 1}, "spec": {}}, "Progressing"),
        (seen() | {"metadata": {"generation": 4}}, "Progressing"),
        (seen(deployed=False), "Progressing"),
        (seen(), "Healthy"),
        (seen(paused=True), "Suspended"),
        (seen(UNREACHABLE), "Degraded"),
    ],
    ids=["new", "changed", "creating", "idle", "paused", "unreachable"],
)
async def test_argo_cd_sees_the_health_of_a_pool(redis, resource, expected):
    """The check of the page runs in the Lua of Redis, on statuses that the operator writes."""
    (script,) = block("gitops", "health")["data"].values()
    code = f"local obj = cjson.decode(ARGV[1]); local check = function() {script} end; return cjson.encode(check())"
    health = json.loads(await redis.eval(code, 0, json.dumps(resource)))
    assert health["status"] == expected
    ready = [each for each in resource.get("status", {}).get("conditions", []) if each["type"] == "Ready"]
    assert health["message"] in {each["message"] for each in ready} | {"The operator has not seen this generation yet."}


def test_the_check_knows_the_reasons_that_pass_by_themselves():
    """A new reason on the way to readiness is no degradation for Argo CD either."""
    (script,) = block("gitops", "health")["data"].values()
    assert set(re.findall(r"(\w+) = true", script)) >= ON_ITS_WAY
