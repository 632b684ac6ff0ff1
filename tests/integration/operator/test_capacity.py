"""Capacity with a real operator and API server: nodes offer less, and workers stay."""

from __future__ import annotations

import contextlib

import pytest_asyncio

from agentpool_core.kube import paths
from agentpool_core.kube.errors import NotThereError

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


async def run_worker(cluster, namespace, name, devices=1):
    """Start a worker on the node, with this many devices of its device plugin."""
    limits = {"limits": {f"{namespace}.dev/gpu": str(devices)}} if devices else {}
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


@pytest_asyncio.fixture
async def devices(cluster, namespace):
    """Publish a GPU that is whole, or two halves, on a node; a call allocates one of these to a pod by a claim."""
    driver = f"{namespace}.dev"
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Up"}
    amounts = {"cpu": "8", "memory": "8Gi", "pods": "110"}
    status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready | {"message": ""}]}
    await cluster.create(paths.nodes(), {"apiVersion": "v1", "kind": "Node", "metadata": {"name": namespace}})
    await cluster.merge(f"{paths.nodes(namespace)}/status", {"status": status}, manager="kubelet")
    selectors = [{"cel": {"expression": f"device.driver == '{driver}'"}}]
    await cluster.create(paths.device_classes(), of_dra("DeviceClass", namespace, spec={"selectors": selectors}))
    for part in (0, 1):
        await cluster.create(paths.resource_slices(), resource_slice(namespace, driver, part))

    async def allocate(pod, device):
        path = paths.resource_claims().replace("/resourceclaims", f"/namespaces/{namespace}/resourceclaims")
        spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": namespace}}]}}
        await cluster.create(path, of_dra("ResourceClaim", pod, spec=spec))
        found = await cluster.get(paths.pods(namespace, pod))
        results = [{"request": "r", "driver": driver, "pool": namespace, "device": device}]
        reserved = [{"resource": "pods", "name": pod, "uid": found["metadata"]["uid"]}]
        allocated = {"allocation": {"devices": {"results": results}}, "reservedFor": reserved}
        await cluster.merge(f"{path}/{pod}/status", {"status": allocated}, manager="scheduler")

    yield allocate
    for path in (paths.resource_slices(), paths.device_classes()):
        for name in (namespace, f"{namespace}-0", f"{namespace}-1"):
            with contextlib.suppress(NotThereError):
                await cluster.delete(f"{path}/{name}")
    await cluster.delete(paths.nodes(namespace))


def of_dra(kind, name, **parts):
    return {"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": {"name": name}, **parts}


def resource_slice(node, driver, part):
    """Return the counters that the devices share, or the devices; the API refuses both in one slice."""
    memory = {"whole": "80Gi", "half-0": "40Gi", "half-1": "40Gi"}
    devices = [
        {
            "name": name,
            "attributes": {"whole": {"bool": name == "whole"}},
            "consumesCounters": [{"counterSet": "gpu", "counters": {"memory": {"value": amount}}}],
        }
        for name, amount in memory.items()
    ]
    counters = [{"name": "gpu", "counters": {"memory": {"value": "80Gi"}}}]
    content = {"devices": devices} if part else {"sharedCounters": counters}
    pool = {"name": node, "generation": 1, "resourceSliceCount": 2}
    return of_dra("ResourceSlice", f"{node}-{part}", spec={"nodeName": node, "driver": driver, "pool": pool, **content})


async def test_a_pool_grows_with_the_devices_that_its_claims_could_get(
    start_operator, pool_of, look, until, cluster, namespace, devices
):
    """Halves of a device while neither the whole nor both halves are allocated; a missing template is named."""
    start_operator()
    scaling = {"pollSeconds": 1, "minReplicas": 4, "maxReplicas": 9}
    await pool_of(gpu={"resourceClaimTemplateName": "half"}, scaling=scaling)

    async def named():
        return "no ResourceClaimTemplate half" in str((await look.status()).get("conditions"))

    await until(named, expected=True)
    whole = f"device.attributes['{namespace}.dev'].whole"
    exactly = {"deviceClassName": namespace, "selectors": [{"cel": {"expression": f"!{whole}"}}]}
    template = {"spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}}
    path = paths.resource_claim_templates().replace("/resourceclaim", f"/namespaces/{namespace}/resourceclaim")
    await cluster.create(path, of_dra("ResourceClaimTemplate", "half", spec=template))
    await until(look.replicas, 2)
    await run_worker(cluster, namespace, "agents-1", devices=0)
    await devices("agents-1", "half-0")

    async def gpus():
        return (await look.status()).get("gpus")

    await until(gpus, {"placeable": 2, "held": 1})


async def held(look):
    """Return the number of devices in the pool's status."""
    return ((await look.status()).get("gpus") or {}).get("held")
