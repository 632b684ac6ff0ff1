"""Which pods go first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agentpool_devcluster.controllers.deletion_order import DELETION_COST, deletion_order
from agentpool_devcluster.kube.objects import name_of, now_text

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(name, *, node="n1", phase="Running", ready=3600, cost=None, restarts=0, age=7200):
    annotations = {} if cost is None else {DELETION_COST: str(cost)}
    conditions = []
    if ready is not None:
        since = now_text(NOW - timedelta(seconds=ready))
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "annotations": annotations,
            "creationTimestamp": now_text(NOW - timedelta(seconds=age)),
        },
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"restartCount": restarts}],
        },
    }


def order(*pods):
    return [name_of(one) for one in deletion_order(pods, pods, NOW)]


def test_pods_that_serve_less_go_first():
    """Unassigned goes before pending, pending before not ready, not ready before ready."""
    pods = [
        pod("ready"),
        pod("unready", ready=None),
        pod("pending", phase="Pending", ready=None),
        pod("unassigned", node="", phase="Pending", ready=None),
    ]
    assert order(*pods) == ["unassigned", "pending", "unready", "ready"]


def test_a_cheaper_pod_goes_first_at_any_age():
    """Deletion cost decides among ready pods, before crowding and age."""
    assert order(pod("busy", cost=10, ready=5), pod("idle", cost=-1, ready=86400), pod("plain")) == [
        "idle",
        "plain",
        "busy",
    ]


def test_a_cost_that_is_no_number_counts_as_none():
    """An unreadable deletion cost counts as 0, like an absent cost."""
    assert order(pod("b", cost="many"), pod("a", cost=-1), pod("c", cost=1)) == ["a", "b", "c"]


def test_among_equals_the_crowded_the_young_and_the_unsteady_go_first():
    """A shared node, then recent readiness, then restarts decide."""
    assert order(pod("x", node="n1"), pod("y", node="n2"), pod("z", node="n2", ready=10))[:2] == ["z", "y"]
    assert order(pod("steady"), pod("unsteady", restarts=4)) == ["unsteady", "steady"]
