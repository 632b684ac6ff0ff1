"""Capacity with a real operator and API server: nodes offer less, and workers stay."""

from __future__ import annotations

import pytest_asyncio

from agentpool_core.kube import paths

GPUS = 3


@pytest_asyncio.fixture
async def offer(cluster, namespace):
    """A node with devices of the test's own kind; call it to change how many the node offers."""
    path = paths.nodes(namespace)
    await cluster.create(paths.nodes(), {"apiVersion": "v1", "kind": "Node", "metadata": {"name": namespace}})

    async def change(devices: int) -> None:
        amounts = {"cpu": "8", "memory": "8Gi", "pods": "110", f"{namespace}.dev/gpu": str(devices)}
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Up"}
        status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready | {"message": ""}]}
        await cluster.merge(f"{path}/status", {"status": status}, manager="kubelet")

    await change(GPUS)
    yield change
    await cluster.delete(path)


async def run_worker(cluster, namespace, name):
    """A worker that runs on the node, with one device."""
    limits = {"limits": {f"{namespace}.dev/gpu": "1"}}
    metadata = {"name": name, "namespace": namespace, "labels": {"agentpool.dev/pool": "agents"}}
    spec = {"nodeName": namespace, "containers": [{"name": "worker", "image": "w", "resources": limits}]}
    await cluster.create(paths.pods(namespace), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


async def test_a_device_plugin_that_restarts_removes_no_worker(
    start_operator, pool_of, look, until, cluster, namespace, offer
):
    """While the node offers no device, the workers that hold devices stay, and the status counts them."""
    start_operator()
    gpu = {"resourceName": f"{namespace}.dev/gpu"}
    await pool_of(gpu=gpu, scaling={"pollSeconds": 1, "minReplicas": 2, "maxReplicas": 4})
    await until(look.replicas, 2)
    for name in ("agents-1", "agents-2"):
        await run_worker(cluster, namespace, name)

    async def gpus():
        return (await look.status()).get("gpus")

    await until(gpus, {"placeable": GPUS, "held": 2})
    await offer(0)
    await until(gpus, {"placeable": 2, "held": 2})
    assert await look.replicas() == 2
    await offer(GPUS)
    await until(gpus, {"placeable": GPUS, "held": 2})
