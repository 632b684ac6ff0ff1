"""Devices of Dynamic Resource Allocation: counted for claims of templates and for extended resources alike."""

from __future__ import annotations

from functools import partial

import pytest

from agentpool_operator.capacity import dra
from agentpool_operator.capacity.inventory import Inventory
from agentpool_operator.pools.registry import each
from agentpool_operator.pools.resolve import shape_of
from agentpool_operator.scaling.nodes import misfit
from agentpool_operator.scaling.sharing import Claim, Grant, Idle, share

GPU = "nvidia.com/gpu"
DRIVER = "gpu.nvidia.com"


@pytest.fixture
def inventory():
    """A node with two GPUs of 80 GiB."""
    found = Inventory()
    found.see_node(node())
    found.replace_devices(dra.CLASSES, [device_class()])
    found.replace_devices(dra.TEMPLATES, [])
    found.replace_devices(dra.CLAIMS, [])
    found.replace_devices(dra.SLICES, [])
    found.see_device(dra.SLICES, resource_slice("a", [device("gpu-0"), device("gpu-1")]))
    return found


def node(**allocatable):
    ready = [{"type": "Ready", "status": "True"}]
    status = {"allocatable": {"cpu": "64", "pods": "110", **allocatable}, "conditions": ready}
    return {"metadata": {"name": "n"}, "status": status}


def device_class(name="gpu", resource=GPU, expression=f"device.driver == '{DRIVER}'"):
    selectors = [{"cel": {"expression": expression}}]
    return {"metadata": {"name": name}, "spec": {"extendedResourceName": resource, "selectors": selectors}}


def device(name, *, memory="80Gi", profile="", consumes=None, taints=()):
    """Return a device; `consumes` is the amount of each shared counter of `gpu-0`."""
    attributes = {"type": {"string": "mig" if profile else "gpu"}, "cudaDriver": {"version": "580.65.6"}}
    attributes |= {"profile": {"string": profile}} if profile else {}
    counters = {name: {"value": amount} for name, amount in (consumes or {}).items()}
    return {
        "name": name,
        "attributes": attributes,
        "capacity": {"memory": {"value": memory}},
        "taints": list(taints),
        "consumesCounters": [{"counterSet": "gpu-0", "counters": counters}] if counters else [],
    }


def resource_slice(name, devices, *, generation=1, driver=DRIVER, counters=None):
    pool = {"name": "n", "generation": generation, "resourceSliceCount": 1}
    shared = [{"name": "gpu-0", "counters": {name: {"value": amount} for name, amount in (counters or {}).items()}}]
    spec = {"nodeName": "n", "driver": driver, "pool": pool, "devices": devices, "sharedCounters": shared}
    return {"metadata": {"name": name}, "spec": spec}


def claim(*devices, pod="p", extended=False, observes=False):
    annotations = {"resource.kubernetes.io/extended-resource-claim": "true"} if extended else {}
    admin = {"adminAccess": True} if observes else {}
    results = [{"driver": DRIVER, "pool": "n", "device": device, **admin} for device in devices]
    metadata = {"name": "c", "namespace": "ns", "uid": f"c-{pod}", "annotations": annotations}
    reserved = [{"resource": "pods", "name": pod, "uid": pod}]
    return {"metadata": metadata, "status": {"allocation": {"devices": {"results": results}}, "reservedFor": reserved}}


def template(name, *options, **exactly):
    """Return a ResourceClaimTemplate with one request, for the first of the options or exactly for one."""
    wanted = {"firstAvailable": list(options)} if options else {"exactly": {"deviceClassName": "gpu", **exactly}}
    requests = [{"name": "r", **wanted}]
    return {"metadata": {"namespace": "ns", "name": name}, "spec": {"spec": {"devices": {"requests": requests}}}}


def selecting(*expressions):
    return {"selectors": [{"cel": {"expression": expression}} for expression in expressions]}


def worker(inventory, *templates, **requests):
    """Return the shape of a worker with claims of these templates, and these requests."""
    claims = [{"name": name, "resourceClaimTemplateName": name} for name in templates]
    containers = [{"name": "worker", "resources": {"requests": requests}}]
    return inventory.resolved("ns", shape_of({"spec": {"resourceClaims": claims, "containers": containers}}))


def grants(inventory, *claims):
    return share(inventory.nodes(), claims)


def wants(pool, shape, wanted=9, **given):
    return Claim(pool=pool, shape=shape, wanted=wanted, current=0, busy={}, **({"idle": ()} | given))


def fitting(inventory, shape):
    """Return how many workers of the shape fit."""
    return grants(inventory, wants("a", shape))["a"].placeable


def offered(inventory, resource=GPU):
    """Return the devices of the empty node behind an extended resource, and the workers with one that fit now."""
    (found,) = inventory.nodes()
    return found.most(resource), fitting(inventory, worker(inventory, **{resource: "1"}))


def test_a_nodes_devices_are_the_extended_resource_of_their_class(inventory):
    """By the class's own name and by its implicit name; the node itself states no allocatable."""
    assert offered(inventory) == (2, 2)
    assert offered(inventory, "deviceclass.resource.kubernetes.io/gpu") == (2, 2)
    assert "asks for 3" in misfit(inventory.nodes(), worker(inventory, **{GPU: "3"}))


@pytest.mark.parametrize("extended", [True, False], ids=["of the scheduler", "of a template"])
def test_an_allocated_claim_holds_its_devices_once(inventory, extended):
    """Beside the pod's request for the extended resource, until the end of the claim; an observer holds nothing."""
    containers = [{"name": "c", "resources": {"limits": {GPU: "1"} if extended else {}}}]
    pod = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "p"},
        "spec": {"nodeName": "n", "containers": containers},
    }
    inventory.see_pod(pod)
    inventory.see_device(dra.CLAIMS, claim("gpu-0", extended=extended))
    inventory.see_device(dra.CLAIMS, claim("gpu-1", pod="q", observes=True))
    assert offered(inventory) == (2, 1)
    inventory.replace_devices(dra.CLAIMS, [])
    assert offered(inventory) == (2, 2)


def test_a_device_plugin_comes_first(inventory):
    """A node that states the resource is taken at its word; 0 of a plugin that has left is none."""
    for stated, found in (("4", 4), ("0", 2)):
        inventory.see_node(node(**{GPU: stated}))
        assert offered(inventory) == (found, found)


def test_slices_of_an_older_generation_are_outdated(inventory):
    """A driver that publishes its pool again removes the old slices later."""
    inventory.see_device(dra.SLICES, resource_slice("b", [device("gpu-0")], generation=2))
    assert offered(inventory) == (1, 1)
    inventory.see_device(dra.SLICES, {"metadata": {"name": "a"}}, gone=True)
    assert offered(inventory) == (1, 1)


def test_an_unreadable_slice_harms_no_other(inventory):
    """In a list and in a watch; the list is one change of the inventory, however many slices it has."""
    broken = resource_slice("b", [{"attributes": {"type": {}}}])
    version = inventory.version
    inventory.replace_devices(dra.SLICES, [broken, *(resource_slice(x, [device(x)]) for x in ("c", "d", "e"))])
    each(partial(inventory.see_device, dra.SLICES), broken)
    assert (inventory.version - version, offered(inventory)) == (1, (3, 3))


def test_devices_of_a_different_driver_are_not_of_the_class(inventory):
    """The class selects its driver."""
    inventory.see_device(dra.SLICES, resource_slice("c", [device("nic-0")], driver="nic.example.com"))
    assert offered(inventory) == (2, 2)
    inventory.replace_devices(dra.SLICES, [])
    assert offered(inventory) == (0, 0)


@pytest.mark.parametrize(
    ("stated", "workers"),
    [
        ({}, 2),
        ({"count": 2}, 1),
        ({"count": 3}, 0),
        ({"allocationMode": "All"}, 1),
        (selecting("device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('100Gi')) >= 0"), 0),
        (selecting("device.attributes['gpu.nvidia.com'].type == 'gpu' && device.driver != 'x'"), 2),
        (selecting("device.attributes['gpu.nvidia.com'].profile == '1g.10gb'"), 0),
        (selecting("has(device.attributes['gpu.nvidia.com'].type)"), 2),
        (selecting("has(device.attributes['gpu.nvidia.com'].type.gpu)"), 0),
        (selecting("has(device.capacity['gpu.nvidia.com'].memory.size)"), 0),
        (selecting("some.newer(language)"), 2),
        (selecting(f"quantity(0x{'f' * 5_000}) == 1"), 0),  # beyond the digits that Python writes
        (selecting("[[1]] != [[1]]"), 2),  # lists of lists can take for ever to compare, so they are unknown here
    ],
)
def test_a_claim_of_a_template_takes_devices(inventory, stated, workers):
    """As many as it counts, of those that its selectors permit; an unknown selector is left to the scheduler."""
    inventory.replace_devices(dra.TEMPLATES, [template("t", **stated)])
    assert fitting(inventory, worker(inventory, "t")) == workers


def test_the_first_option_with_enough_devices_is_taken(inventory):
    """The large device for one worker, and the small devices for the next."""
    small = [device(f"small-{number}", memory="10Gi") for number in range(4)]
    inventory.see_device(dra.SLICES, resource_slice("s", small))
    memory = "device.capacity['gpu.nvidia.com'].memory"
    large = {"deviceClassName": "gpu", **selecting(f"{memory}.isGreaterThan(quantity('40Gi'))")}
    pair = {"deviceClassName": "gpu", "count": 2, **selecting(f"{memory}.isLessThan(quantity('40Gi'))")}
    inventory.replace_devices(dra.TEMPLATES, [template("t", large, pair)])
    assert fitting(inventory, worker(inventory, "t")) == 4


def test_a_missing_template_or_class_is_named(inventory):
    """A worker is placed nowhere if its claim cannot be made, with the reason."""
    shape = worker(inventory, "t")
    assert (fitting(inventory, shape), "no ResourceClaimTemplate t in namespace ns" in shape.missing) == (0, True)
    inventory.replace_devices(dra.TEMPLATES, [template("t", deviceClassName="tpu")])
    assert "no DeviceClass tpu" in misfit(inventory.nodes(), worker(inventory, "t"))


def test_a_claim_waits_for_the_lists_of_devices():
    """Until these are read; an operator that may not read them leaves claims to the scheduler."""
    found = Inventory()
    found.see_node(node())
    for kind in (dra.SLICES, dra.CLASSES, dra.CLAIMS, dra.TEMPLATES):
        assert "not been listed yet" in misfit(found.nodes(), worker(found, "t"))
        found.note_unreadable(kind)
    assert fitting(found, worker(found, "t")) == 110


def test_a_claim_beyond_every_node_is_named_by_its_class(inventory):
    """The reason has the class of the claim; allocated devices do not count, as the node could become empty."""
    inventory.see_device(dra.CLAIMS, claim("gpu-0", "gpu-1"))
    inventory.replace_devices(dra.TEMPLATES, [template("one"), template("nine", count=9)])
    assert not misfit(inventory.nodes(), worker(inventory, "one"))
    assert "devices that a worker claims (gpu)" in misfit(inventory.nodes(), worker(inventory, "nine"))


def test_tainted_devices_need_a_toleration(inventory):
    """A device under maintenance is left out, also behind the extended resource."""
    taint = {"key": "maintenance", "effect": "NoSchedule"}
    inventory.see_device(dra.SLICES, resource_slice("a", [device("gpu-0", taints=[taint]), device("gpu-1")]))
    tolerant = {"tolerations": [{"key": "maintenance", "operator": "Exists"}]}
    inventory.replace_devices(dra.TEMPLATES, [template("t"), template("tolerant", **tolerant)])
    shapes = [worker(inventory, "t"), worker(inventory, **{GPU: "1"}), worker(inventory, "tolerant")]
    assert [fitting(inventory, shape) for shape in shapes] == [1, 1, 2]


@pytest.fixture
def partitioned(inventory):
    """A GPU with seven slices, published whole, as halves, and as sevenths, of a shared memory of eight parts."""
    parts = [
        device("gpu-0", consumes={"memory": "80Gi", "slices": "7"}),
        *(device(f"half-{n}", profile="3g.40gb", consumes={"memory": "40Gi", "slices": "3"}) for n in range(2)),
        *(device(f"part-{n}", profile="1g.10gb", consumes={"memory": "10Gi", "slices": "1"}) for n in range(7)),
    ]
    inventory.replace_devices(
        dra.SLICES,
        [resource_slice("shared", [], counters={"memory": "80Gi", "slices": "7"}), resource_slice("parts", parts)],
    )
    profiles = {"whole": "", "half": "3g.40gb", "part": "1g.10gb"}
    attribute = "device.attributes['gpu.nvidia.com']"
    selectors = {
        name: f"{attribute}.profile == '{profile}'" if profile else f"{attribute}.type == 'gpu'"
        for name, profile in profiles.items()
    }
    inventory.replace_devices(dra.TEMPLATES, [template(name, **selecting(text)) for name, text in selectors.items()])
    return inventory


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ((), {"whole": 1, "half": 2, "part": 7}),
        (("part-0",), {"whole": 0, "half": 1, "part": 6}),
        (("half-0",), {"whole": 0, "half": 1, "part": 4}),
        (("half-0", "half-1"), {"whole": 0, "half": 0, "part": 0}),
        (("gpu-0",), {"whole": 0, "half": 0, "part": 0}),
    ],
)
def test_partitions_of_a_device_share_its_counters(partitioned, taken, left):
    """A part takes what it consumes from the whole device and from the remaining parts."""
    partitioned.see_device(dra.CLAIMS, claim(*taken))
    assert {name: fitting(partitioned, worker(partitioned, name)) for name in left} == left


def test_pools_of_different_partitions_share_a_device(partitioned):
    """The halves that a pool is given are no parts for the next pool."""
    half, part = worker(partitioned, "half"), worker(partitioned, "part")
    found = grants(partitioned, wants("halves", half, 1, priority=1), wants("parts", part, 9))
    assert found == {"halves": Grant(placeable=1, kept=0), "parts": Grant(placeable=4, kept=0)}


def test_an_idle_worker_gives_its_devices_to_a_higher_priority(partitioned):
    """And keeps them as long as no such pool asks, also while the driver publishes nothing."""
    partitioned.see_device(dra.CLAIMS, claim("gpu-0"))
    idle = (Idle(node="n", requests={"pods": 1}, devices=frozenset({(DRIVER, "n", "gpu-0")})),)
    low = wants("low", worker(partitioned, "whole"), 1, idle=idle)
    part = worker(partitioned, "part")
    assert grants(partitioned, low)["low"] == Grant(placeable=1, kept=1)
    found = grants(partitioned, low, wants("high", part, 2, priority=1))
    assert found == {"low": Grant(placeable=0, kept=0), "high": Grant(placeable=7, kept=0)}
    partitioned.replace_devices(dra.SLICES, [])
    assert grants(partitioned, low)["low"].kept == 1
