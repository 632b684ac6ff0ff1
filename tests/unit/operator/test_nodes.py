"""Nodes and shapes: the nodes that the scheduler permits, and the request of a worker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.kube.quantities import amount_of
from agentpool_operator.capacity.inventory import Inventory
from agentpool_operator.pools.resolve import requests_of, shape_of
from agentpool_operator.scaling.nodes import Node, Requirement, Shape, fits, misfit
from agentpool_operator.scaling.sharing import Claim, Grant, Idle, share
from agentpool_operator.scaling.taints import Taint, Toleration

EMPTY_TERM = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}  # no node
GPU_TAINT = Taint(key="nvidia.com/gpu", value="present", effect="NoSchedule")


@pytest.mark.parametrize(
    ("shape", "node", "allowed"),
    [
        (Shape(requests={}), Node(name="n"), True),
        (Shape(requests={}), Node(name="n", schedulable=False), False),
        (Shape(requests={}, node_selector={"a": "1"}), Node(name="n", labels={"a": "1"}), True),
        (Shape(requests={}, node_selector={"a": "1"}), Node(name="n", labels={"a": "2"}), False),
        (Shape(requests={}), Node(name="n", taints=(GPU_TAINT,)), False),
        (Shape(requests={}), Node(name="n", taints=(Taint(key="a", effect="PreferNoSchedule"),)), True),
        (
            Shape(requests={}, tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists"),)),
            Node(name="n", taints=(GPU_TAINT,)),
            True,
        ),
        (
            Shape(requests={}, tolerations=(Toleration(key="nvidia.com/gpu", value="other"),)),
            Node(name="n", taints=(GPU_TAINT,)),
            False,
        ),
        (
            Shape(requests={}, tolerations=(Toleration(operator="Exists"),)),
            Node(name="n", taints=(GPU_TAINT,)),
            True,
        ),
    ],
)
def test_selectors_and_taints_decide_where_a_worker_may_run(shape, node, allowed):
    """Node selectors, cordons and taints count as the scheduler counts them."""
    assert shape.allowed_on(node) is allowed


@pytest.mark.parametrize(
    ("operator", "values", "label", "holds"),
    [
        ("In", ("a", "b"), "a", True),
        ("In", ("a",), None, False),
        ("NotIn", ("a",), None, True),
        ("NotIn", ("a",), "a", False),
        ("Exists", (), "x", True),
        ("DoesNotExist", (), "x", False),
        ("Gt", ("3",), "5", True),
        ("Lt", ("3",), "5", False),
        ("Gt", ("3",), "many", False),
        ("Sideways", (), "x", False),
    ],
)
def test_affinity_expressions(operator, values, label, holds):
    """Each operator of a node affinity has the meaning of the API."""
    node = Node(name="n", labels={} if label is None else {"k": label})
    assert Requirement(key="k", operator=operator, values=values).holds(node) is holds


def test_the_whole_request_must_fit():
    """The scarcest resource decides; a worker with a missing resource fits nowhere."""
    free = {"cpu": 4000, "memory": 8, "gpu": 4}
    assert fits(free, {"cpu": 1000, "gpu": 1}) == 4
    assert fits(free, {"cpu": 3000, "gpu": 1}) == 1
    assert fits(free, {"tpu": 1}) == 0


@pytest.mark.parametrize(
    ("resource", "quantity", "amount"),
    [("cpu", "250m", 250), ("cpu", "2", 2000), ("memory", "1Ki", 1024), ("memory", "1.5k", 1500), ("gpu", "3", 3)],
)
def test_quantities_become_whole_numbers(resource, quantity, amount):
    """Processors count in millicores, everything else in units."""
    assert amount_of(resource, quantity) == amount


def test_init_containers_and_sidecars_count_as_the_scheduler_counts_them():
    """The largest init step counts if the step needs more than all containers; sidecars run beside."""

    def wants(cpu, **more):
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    pod = {
        "containers": [wants("1"), wants("1")],
        "initContainers": [wants("500m", restartPolicy="Always"), wants("4")],
        "overhead": {"cpu": "100m"},
    }
    assert requests_of(pod) == {"cpu": 4600, "pods": 1}


def test_a_limit_counts_as_a_request():
    """Devices are often given as limits only."""
    assert requests_of({"containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]})["nvidia.com/gpu"] == 2


def node(name, gpus):
    return {
        "metadata": {"name": name},
        "status": {
            "allocatable": {"nvidia.com/gpu": str(gpus), "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(uid, on, gpus, **metadata):
    return {
        "metadata": {"uid": uid, "name": uid, "namespace": "ns", **metadata},
        "spec": {"nodeName": on, "containers": [{"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}]},
    }


def test_terminating_pods_hold_their_devices():
    """A device is free when the pod is gone, not at the deletion request."""
    inventory = Inventory()
    inventory.see_node(node("n", 4))
    inventory.see_pod(pod("a", "n", 3))
    inventory.see_pod(pod("a", "n", 3, deletionTimestamp="2026-01-01T00:00:00Z"))
    assert inventory.nodes()[0].free["nvidia.com/gpu"] == 1
    inventory.see_pod({"metadata": {"uid": "a"}}, gone=True)
    assert inventory.nodes()[0].free["nvidia.com/gpu"] == 4


def test_heartbeats_change_nothing():
    """An unchanged node does not count as a change."""
    inventory = Inventory()
    inventory.see_node(node("n", 4))
    before = inventory.version
    inventory.see_node(node("n", 4))
    assert inventory.version == before


def test_a_higher_priority_takes_the_room_of_idle_workers_only():
    """An idle worker of a lower priority yields its device; a busy worker does not."""
    shape = shape_of({"spec": {"containers": [{"resources": {"limits": {"gpu": "1"}}}]}})
    low = Claim(
        pool="low", shape=shape, wanted=2, current=2, busy={"n": 1}, idle=(Idle(node="n", requests=shape.requests),)
    )
    high = Claim(pool="high", shape=shape, wanted=2, current=0, priority=5, busy={}, idle=())
    nodes = [Node(name="n", free={"gpu": 0, "pods": 100})]
    assert share(nodes, [low, high]) == {"low": Grant(placeable=1, kept=1), "high": Grant(placeable=1, kept=0)}


def test_pools_of_the_same_shape_visit_each_node_once(monkeypatch):
    """A hundred pools with the same request cost as many visits of nodes as a single pool: the cost stays linear."""
    looks = []
    allowed_on = Shape.allowed_on
    monkeypatch.setattr(Shape, "allowed_on", lambda shape, node: looks.append(node.name) or allowed_on(shape, node))
    nodes = [Node(name=f"n{number}", free={"nvidia.com/gpu": 2}) for number in range(10)]

    def claim(number):
        shape = Shape(requests={"nvidia.com/gpu": 1})
        return Claim(pool=number, shape=shape, wanted=0, current=0, busy={}, idle=())

    granted = share(nodes, [claim(number) for number in range(100)])
    assert {number: grant.placeable for number, grant in granted.items()} == dict.fromkeys(range(100), 20)
    assert len(looks) == len(nodes)


def template(**spec):
    return {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "worker"}], **spec}}


def own(topology="kubernetes.io/hostname", **labels):
    term = {"topologyKey": topology, "labelSelector": {"matchLabels": labels or {"app": "a"}}}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


@pytest.mark.parametrize(
    ("spec", "most"),
    [
        ({}, 100),
        ({"affinity": own()}, 2),
        ({"affinity": own(app="other")}, 100),
        ({"affinity": own("zone")}, 100),
        ({"containers": [{"name": "worker", "ports": [{"containerPort": 80}]}]}, 100),
        ({"containers": [{"name": "worker", "ports": [{"containerPort": 80, "hostPort": 80}]}]}, 2),
        ({"hostNetwork": True, "containers": [{"name": "worker", "ports": [{"containerPort": 80}]}]}, 2),
        ({"nodeName": "n1"}, 50),
        (
            {
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}
                }
            },
            0,
        ),
    ],
)
def test_filters_of_a_template_limit_the_workers_of_a_node(spec, most):
    """Anti-affinity to the worker, host ports, a node's name and empty terms count as in the scheduler."""
    nodes = [Node(name=name, free={"pods": 50}, allocatable={"pods": 50}) for name in ("n1", "n2")]
    claim = Claim(pool="p", shape=shape_of(template(**spec)), wanted=0, current=0, busy={}, idle=())
    assert share(nodes, [claim])["p"].placeable == most


def test_a_pod_on_a_node_takes_its_host_port():
    """A foreign pod with the port leaves a single node for a worker that needs the same port."""
    inventory = Inventory()
    ports = [{"containerPort": 80, "hostPort": 80}]
    for name in ("n1", "n2"):
        inventory.see_node(node(name, 4))
    taker = pod("x", "n1", 0)
    taker["spec"]["containers"][0]["ports"] = ports
    inventory.see_pod(taker)
    shape = shape_of(template(containers=[{"name": "worker", "ports": ports}]))
    claim = Claim(pool="p", shape=shape, wanted=0, current=0, busy={}, idle=())
    assert share(inventory.nodes(), [claim])["p"].placeable == 1


@pytest.mark.parametrize(
    ("stated", "cpu"),
    [
        ({}, 3000),
        ({"requests": {"cpu": "5"}}, 5000),
        ({"limits": {"cpu": "5"}}, 3000),
        ({"limits": {"memory": "1Gi"}}, 3000),
    ],
)
def test_pod_level_resources_replace_the_sum_of_the_containers(stated, cpu):
    """If present, the request of the pod replaces the sum, as in the scheduler."""
    containers = [{"resources": {"requests": {"cpu": amount}}} for amount in ("1", "2")]
    assert requests_of({"containers": containers, "resources": stated})["cpu"] == cpu


def test_a_worker_keeps_its_place_when_its_node_offers_less_than_before():
    """A device plugin restart or an unlisted node removes no worker; only a new worker needs room."""
    shape = Shape(requests={"gpu": 1})
    idle = tuple(Idle(node=name, requests=shape.requests) for name in ("n", "n", "lost"))
    claim = Claim(pool="p", shape=shape, wanted=3, current=3, busy={}, idle=idle)
    assert share([Node(name="n", free={"gpu": -2})], [claim]) == {"p": Grant(placeable=3, kept=3)}


def test_a_place_that_a_node_does_not_offer_is_not_given_to_a_higher_priority():
    """Removing the idle worker would help no pool, for the device is gone."""
    shape = Shape(requests={"gpu": 1})
    low = Claim(pool="low", shape=shape, wanted=1, current=1, busy={}, idle=(Idle(node="n", requests=shape.requests),))
    high = Claim(pool="high", shape=shape, wanted=1, current=0, priority=5, busy={}, idle=())
    grants = share([Node(name="n", free={"gpu": -1})], [low, high])
    assert grants == {"low": Grant(placeable=1, kept=1), "high": Grant(placeable=0, kept=0)}


def test_a_pod_of_an_earlier_template_frees_what_it_holds():
    """An idle worker with a single device is no room for two."""
    idle = (Idle(node="n", requests={"gpu": 1}),)
    claim = Claim(pool="p", shape=Shape(requests={"gpu": 2}), wanted=1, current=1, busy={}, idle=idle)
    assert share([Node(name="n", free={"gpu": 0})], [claim]) == {"p": Grant(placeable=1, kept=1)}


def test_a_worker_without_a_node_is_kept_unless_the_scheduler_refuses_it():
    """Starting workers stay although the room is taken; refused workers claim no room."""
    shape = Shape(requests={"gpu": 1})
    claim = Claim(pool="p", shape=shape, wanted=4, current=4, busy={"n": 1}, idle=(), starting=3)
    assert share([Node(name="n", free={"gpu": 0})], [claim])["p"] == Grant(placeable=1, kept=4)
    limited = replace(claim, starting=0, most=1)
    other = Claim(pool="q", shape=shape, wanted=3, current=0, busy={}, idle=())
    grants = share([Node(name="n", free={"gpu": 3})], [limited, other])
    assert (grants["p"], grants["q"].placeable) == (Grant(placeable=1, kept=1), 3)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("node.cilium.io/agent-not-ready", ""),
        ("node.cloudprovider.kubernetes.io/uninitialized", ""),
        ("team", "a worker does not tolerate the taint team:NoSchedule of node n, and no other node is permitted"),
    ],
)
def test_a_taint_that_excludes_all_nodes_is_named_unless_the_taint_is_temporary(key, why):
    """A new node with a start-up taint needs no second node."""
    tainted = Node(name="n", taints=(Taint(key=key),), allocatable={"gpu": 1}, free={"gpu": 1})
    assert misfit([tainted], Shape(requests={"gpu": 1})) == why
