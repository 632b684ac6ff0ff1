"""Where pods go, and the words for why they do not."""

from __future__ import annotations

import pytest

from agentpool_devcluster.controllers.placement import place, rooms_of


def node(name, *, cpu="4", memory="8Gi", pods="10", gpu=None, labels=None, taints=(), unschedulable=False):
    allocatable = {"cpu": cpu, "memory": memory, "pods": pods}
    if gpu is not None:
        allocatable["nvidia.com/gpu"] = str(gpu)
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints), "unschedulable": unschedulable},
        "status": {"allocatable": allocatable},
    }


def pod(**spec):
    requests = spec.pop("requests", {})
    containers = [{"name": "main", "resources": {"requests": requests}}]
    return {"metadata": {"name": "p", "uid": "p"}, "spec": {"containers": containers, **spec}}


GPU = pod(requests={"nvidia.com/gpu": "1"})
TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}


def test_too_few_gpus_are_reported_in_the_schedulers_words():
    """Every node lacks a GPU, and the message equals the message of the real scheduler."""
    rooms = rooms_of([node("a", gpu=1), node("b")], [("a", GPU)])
    assert place(GPU, rooms).message == "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


@pytest.mark.parametrize(
    ("one", "wanted", "reason"),
    [
        (node("a", unschedulable=True), pod(), "1 node(s) were unschedulable"),
        (node("a", taints=[TAINT]), pod(), "1 node(s) had untolerated taint {gpu: yes}"),
        (node("a"), pod(nodeSelector={"zone": "x"}), "1 node(s) didn't match Pod's node affinity/selector"),
        (node("a", pods="0"), pod(), "1 Too many pods"),
        (node("a", cpu="1"), pod(requests={"cpu": "1500m"}), "1 Insufficient cpu"),
    ],
)
def test_each_filter_has_its_reason(one, wanted, reason):
    """The first filter that fails determines the reason of the node."""
    placement = place(wanted, rooms_of([one], []))
    assert placement.node is None
    assert placement.message == f"0/1 nodes are available: {reason}."


def test_a_toleration_opens_a_tainted_node():
    """A matching toleration, by value or by Exists, makes the node fit."""
    rooms = rooms_of([node("a", taints=[TAINT])], [])
    assert place(pod(tolerations=[{"key": "gpu", "value": "yes"}]), rooms).node == "a"
    assert place(pod(tolerations=[{"operator": "Exists"}]), rooms).node == "a"
    assert place(pod(tolerations=[{"key": "gpu", "value": "no"}]), rooms).node is None


def test_the_emptier_node_wins():
    """Among nodes that fit, the scheduler takes the node with the largest free share."""
    busy = pod(requests={"cpu": "2", "memory": "4Gi"})
    rooms = rooms_of([node("a"), node("b")], [("a", busy)])
    assert place(pod(requests={"cpu": "1"}), rooms).node == "b"


def test_without_nodes_the_message_is_the_schedulers():
    """A cluster without nodes has a message of its kind."""
    assert place(pod(), []).message == "no nodes available to schedule pods"


def test_required_pod_affinity_is_refused_by_name():
    """A placement rule that is not supported is never ignored."""
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}
    placement = place(pod(affinity=affinity), rooms_of([node("a")], []))
    assert placement.node is None
    assert "podAntiAffinity" in placement.message
