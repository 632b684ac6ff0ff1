"""The environment of a run: an API server, pools, nodes and pods as objects, and their watches.

`measure` starts the operator in this environment.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from agentpool_core.spec.crd import custom_resource_definition

NAMESPACE = "bench"
NODES_PER_POOL = 2
PODS_PER_POOL = 20
AT_ONCE = 50  # requests
LIMIT_SECONDS = 600.0  # for any wait
Json = dict[str, Any]


class Api:
    """The API server, from outside."""

    def __init__(self, session: aiohttp.ClientSession, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        self._url = config["clusters"][0]["cluster"]["server"]
        self._headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        self._session = session

    async def create(self, path: str, bodies: Iterable[Json]) -> None:
        """Create objects, some at once."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(body: Json) -> None:
            async with gate, self._session.post(self._url + path, json=body, headers=self._headers) as answer:
                answer.raise_for_status()

        await asyncio.gather(*(one(body) for body in bodies))

    async def follow(self, path: str, see: Callable[[Json], None]) -> None:
        """Pass on watch events for ever; a watch started before the objects misses none."""
        no_limit = aiohttp.ClientTimeout(total=None)
        parameters = {"watch": "true"}
        async with self._session.get(
            self._url + path, headers=self._headers, params=parameters, timeout=no_limit, read_bufsize=2**22
        ) as answer:
            async for line in answer.content:
                see(json.loads(line)["object"])


class Sizes:
    """Sizes of Deployments from a watch, with the time of the first observation."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def see(self, deployment: Json) -> None:
        """A Deployment was seen."""
        name, replicas = deployment["metadata"]["name"], deployment.get("spec", {}).get("replicas", 0)
        if name not in self._seen or self._seen[name][0] != replicas:
            self._seen[name] = (replicas, time.perf_counter())

    async def reached(self, name: str, replicas: int) -> float:
        """Wait for a size; return its time."""
        await until(lambda: self._seen.get(name, (None, 0.0))[0] == replicas, f"{name} has {replicas} replicas")
        return self._seen[name][1]


class ReadyPools:
    """Ready AgentPools from a watch."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def see(self, pool: Json) -> None:
        """A pool was seen."""
        conditions = (pool.get("status") or {}).get("conditions") or []
        if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            self.names.add(pool["metadata"]["name"])


async def furnish(api: Api, pools: int, url: str) -> None:
    """Make the resource, the nodes, the pods on them and the pools, which name the Redis at `url`."""
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await api.create(crd, [custom_resource_definition()])
    await api.create("/api/v1/namespaces", [{"metadata": {"name": NAMESPACE}}])
    nodes = NODES_PER_POOL * pools
    await api.create("/api/v1/nodes", map(_node, range(nodes)))
    pods = (_pod(number, nodes) for number in range(PODS_PER_POOL * pools))
    await api.create(f"/api/v1/namespaces/{NAMESPACE}/pods", pods)
    path = f"/apis/agentpool.dev/v1alpha1/namespaces/{NAMESPACE}/agentpools"
    await api.create(path, (_pool(number, url) for number in range(pools)))


def name_of(number: int) -> str:
    """Return a pool's name."""
    return f"p{number}"


def _pool(number: int, url: str) -> Json:
    """Return a pool; every tenth asks for a GPU, so the inventory of nodes is kept too; the first is never empty."""
    spec: Json = {
        "handler": {"command": {"argv": ["cat"]}},
        "queue": {"redis": {"url": url}},
        "scaling": {"minReplicas": 1 if number == 0 else 0},
    }
    if number % 10 == 1:
        spec["gpu"] = {"perWorker": 1}
    return {
        "apiVersion": "agentpool.dev/v1alpha1",
        "kind": "AgentPool",
        "metadata": {"name": name_of(number), "namespace": NAMESPACE},
        "spec": spec,
    }


def _node(number: int) -> Json:
    room = {"cpu": "64", "memory": "256Gi", "pods": "110", "nvidia.com/gpu": "4"}
    since = "2026-01-01T00:00:00Z"
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": since, "reason": "Bench", "message": ""}
    status = {"allocatable": room, "capacity": room, "conditions": [ready]}
    return {"metadata": {"name": f"n{number}"}, "status": status}


def _pod(number: int, nodes: int) -> Json:
    requests = {"cpu": "1", "memory": "1Gi"}
    container = {"name": "c", "image": "i", "resources": {"requests": requests}}
    return {"metadata": {"name": f"q{number}"}, "spec": {"nodeName": f"n{number % nodes}", "containers": [container]}}


async def api_server(log: Path, *flags: str) -> asyncio.subprocess.Process:
    """Start the devcluster's API server without full garbage collections; a Go server has no such pauses."""
    program = (
        "import gc, runpy; gc.set_threshold(700, 10, 1_000_000); "
        "runpy.run_module('agentpool_devcluster.api', run_name='__main__')"
    )
    return await _started(log, "-c", program, *flags)


async def operator(log: Path, *flags: str) -> asyncio.subprocess.Process:
    """Start the operator as a user would."""
    return await _started(log, "-m", "agentpool_core", "operator", *flags)


async def _started(log: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Start Python as a process that writes its output to a file."""
    with log.open("wb") as out:
        return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=out, stderr=out, cwd=log.parent)


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds. Raises TimeoutError naming the condition."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {LIMIT_SECONDS:g} s: {what}")
        await asyncio.sleep(0.002)
