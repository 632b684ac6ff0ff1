"""Capacity with a real operator and API server: nodes offer less, and workers stay."""

from __future__ import annotations

import pytest_asyncio

from agentpool_core.kube import paths

GPUS = 3


@pytest_asyncio.fixture
async def offer(cluster, namespace):
    """Create a node with devices of a test-only kind; a call changes the number of devices."""
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
    """Start a worker on the node, with one device."""
    limits = {"limits": {f"{namespace}.dev/gpu": "1"}}
    metadata = {"name": name, "namespace": namespace, "labels": {"agentpool.dev/pool": "agents"}}
    spec = {"nodeName": namespace, "containers": [{"name": "worker", "image": "w", "resources": limits}]}
    await cluster.create(paths.pods(namespace), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


async def test_a_device_plugin_that_restarts_removes_no_worker(
    start_operator, pool_of, look, until, cluster, namespace, offer
):
    """While the node offers no device, workers with devices stay, and the status counts them."""
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


async def test_a_template_that_fits_on_no_node_does_not_replace_a_worker(
    start_operator, pool_of, look, until, cluster, namespace, offer
):
    """`perWorker` beyond any node is a condition; the Deployment keeps the template of the running worker."""
    start_operator()
    gpu = {"resourceName": f"{namespace}.dev/gpu"}
    scaling = {"pollSeconds": 1, "minReplicas": 1}
    await pool_of(gpu=gpu, scaling=scaling)
    await until(look.replicas, 1)
    await run_worker(cluster, namespace, "agents-1")
    await until(lambda: held(look), 1)
    await pool_of(gpu=gpu | {"perWorker": GPUS + 1}, scaling=scaling)
    await until(lambda: look.condition("Ready"), ("False", "TemplateUnplaceable"))
    assert await look.replicas() == 1
    await pool_of(gpu=gpu | {"perWorker": GPUS}, scaling=scaling)
    await until(lambda: look.condition("Progressing"), ("True", "Starting"))
    template = (await cluster.get(paths.deployments(namespace, "agents")))["spec"]["template"]
    assert template["spec"]["containers"][0]["resources"]["limits"] == {f"{namespace}.dev/gpu": str(GPUS)}
    assert await held(look) == 1


async def held(look):
    """Return the number of devices in the pool's status."""
    return ((await look.status()).get("gpus") or {}).get("held")
