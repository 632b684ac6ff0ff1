"""Devices of Dynamic Resource Allocation behind an extended resource's name: counted like a device plugin's."""

from __future__ import annotations

import pytest

from agentpool_operator.capacity.inventory import Inventory

GPU = "nvidia.com/gpu"


@pytest.fixture
def inventory():
    found = Inventory()
    ready = [{"type": "Ready", "status": "True"}]
    found.see_node({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "8"}, "conditions": ready}})
    found.see_class(device_class())
    found.see_slice(resource_slice("a", ["gpu-0", "gpu-1"]))
    return found


def device_class(name="gpu", resource=GPU, expression="device.driver == 'gpu.nvidia.com'"):
    selectors = [{"cel": {"expression": expression}}]
    return {"metadata": {"name": name}, "spec": {"extendedResourceName": resource, "selectors": selectors}}


def resource_slice(name, devices, *, generation=1, driver="gpu.nvidia.com"):
    pool = {"name": "n", "generation": generation, "resourceSliceCount": 1}
    spec = {"nodeName": "n", "driver": driver, "pool": pool, "devices": [{"name": device} for device in devices]}
    return {"metadata": {"name": name}, "spec": spec}


def claim(device, *, extended=False):
    annotations = {"resource.kubernetes.io/extended-resource-claim": "true"} if extended else {}
    results = [{"driver": "gpu.nvidia.com", "pool": "n", "device": device}]
    metadata = {"name": "c", "namespace": "ns", "uid": "c", "annotations": annotations}
    return {"metadata": metadata, "status": {"allocation": {"devices": {"results": results}}}}


def offered(inventory, resource=GPU):
    (node,) = inventory.nodes()
    return node.allocatable.get(resource), node.free.get(resource)


def test_a_nodes_devices_are_the_extended_resource_of_their_class(inventory):
    """By the class's own name and by its implicit name; the node itself states no allocatable."""
    assert offered(inventory) == (2, 2)
    assert offered(inventory, "deviceclass.resource.kubernetes.io/gpu") == (2, 2)


def test_pods_that_request_the_resource_hold_devices_once(inventory):
    """The scheduler's claim for the pod is not counted beside the pod's request."""
    container = {"name": "c", "resources": {"limits": {GPU: "1"}}}
    inventory.see_pod(
        {"metadata": {"name": "p", "namespace": "ns", "uid": "p"}, "spec": {"nodeName": "n", "containers": [container]}}
    )
    inventory.see_claim(claim("gpu-0", extended=True))
    assert offered(inventory) == (2, 1)


def test_claims_that_pods_state_themselves_take_devices(inventory):
    """A device of a claim is free again with the end of the claim."""
    inventory.see_claim(claim("gpu-0"))
    assert offered(inventory) == (1, 1)
    inventory.replace_claims([])
    assert offered(inventory) == (2, 2)


def test_a_device_plugin_comes_first(inventory):
    """A node that states the resource is taken at its word; 0 of a plugin that has left is none."""
    ready = [{"type": "Ready", "status": "True"}]
    for stated, found in (("4", 4), ("0", 2)):
        status = {"allocatable": {"cpu": "8", GPU: stated}, "conditions": ready}
        inventory.see_node({"metadata": {"name": "n"}, "status": status})
        assert offered(inventory) == (found, found)


def test_slices_of_an_older_generation_are_outdated(inventory):
    """A driver that publishes its pool again removes the old slices later."""
    inventory.see_slice(resource_slice("b", ["gpu-0"], generation=2))
    assert offered(inventory) == (1, 1)
    inventory.see_slice({"metadata": {"name": "a"}}, gone=True)
    assert offered(inventory) == (1, 1)


def test_devices_of_a_different_driver_are_not_of_the_class(inventory):
    """The class selects its driver."""
    inventory.see_slice(resource_slice("c", ["nic-0"], driver="nic.example.com"))
    assert offered(inventory) == (2, 2)
    inventory.replace_slices([])
    assert offered(inventory) == (None, None)
