"""Taints of lost nodes, and how long pods stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agentpool_devcluster.controllers.node_health import NOT_READY, UNREACHABLE, Patience, evict_in, wanted_taints
from agentpool_devcluster.kube.objects import now_text

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = now_text(NOW)


def node(ready, **spec):
    conditions = [{"type": "Ready", "status": ready}]
    return {"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}}


def keys(taints):
    return [(taint["key"], taint["effect"]) for taint in taints]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (node("True"), []),
        (node("False"), [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        (node("Unknown"), [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        (node("True", unschedulable=True), [("node.kubernetes.io/unschedulable", "NoSchedule")]),
        (node("True", taints=[{"key": "own", "effect": "NoSchedule"}]), [("own", "NoSchedule")]),
        (node("True", taints=[{"key": UNREACHABLE, "effect": "NoExecute"}]), []),
    ],
)
def test_taints_follow_the_state_of_the_node(one, expected):
    """Taints of the controller follow readiness and cordon; the user's taints stay."""
    assert keys(wanted_taints(one, AT)) == expected


def test_a_taint_keeps_the_time_it_was_added():
    """A second pass changes nothing, so the time until eviction runs on."""
    lost = node("Unknown")
    lost["spec"]["taints"] = wanted_taints(lost, AT)
    assert wanted_taints(lost, now_text(NOW + timedelta(hours=1))) == lost["spec"]["taints"]


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], 240),
        ([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 90}], 30),
        ([{"operator": "Exists"}], None),
        ([{"key": NOT_READY, "operator": "Exists"}], -60),
    ],
)
def test_a_pod_stays_for_its_toleration(tolerations, expected):
    """The pod's toleration counts; without a toleration, the default of the cluster."""
    lost = node("Unknown", taints=[{"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": AT}])
    pod = {"metadata": {"name": "p"}, "spec": {"tolerations": tolerations}}
    assert evict_in(pod, lost, Patience(), NOW + timedelta(seconds=60)) == expected
