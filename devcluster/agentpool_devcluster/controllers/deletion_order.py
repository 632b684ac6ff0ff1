"""Which pods of a ReplicaSet go first when there are too many. Pure.

The order is the real controller's: unassigned, pending, not ready, cheap by `pod-deletion-cost`, crowded on one node,
recently ready, often restarted, recently created. Readiness is compared by powers of two of its age, so that pods of
about one age are chosen among evenly, by their uid.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.controllers.pod_state import is_ready, node_of, phase_of, ready_since
from agentpool_devcluster.kube.objects import KubeObject, age_seconds, annotations_of, uid_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASE_RANK: Mapping[str, int] = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_order(pods: Sequence[KubeObject], related: Sequence[KubeObject], now: datetime) -> list[KubeObject]:
    """The pods, those to delete first in front.

    `related` are all active pods of the same Deployment: where many share a node, those there go first.
    """
    crowd = Counter(node_of(pod) for pod in related if node_of(pod))
    return sorted(pods, key=lambda pod: _rank(pod, crowd, now))


def deletion_cost(pod: Mapping[str, Any]) -> int:
    """The pod's deletion cost; 0 where it has none, or one that is no 32-bit integer (the API would refuse it)."""
    text = annotations_of(pod).get(DELETION_COST, "0")
    try:
        cost = int(text)
    except ValueError:
        return 0
    return cost if -(2**31) <= cost < 2**31 else 0


def _rank(pod: KubeObject, crowd: Mapping[str, int], now: datetime) -> tuple[Any, ...]:
    node = node_of(pod)
    ready = is_ready(pod)
    age = age_seconds(pod["metadata"].get("creationTimestamp"), now)
    return (
        bool(node),
        _PHASE_RANK.get(phase_of(pod), 1),
        ready,
        deletion_cost(pod),
        -crowd.get(node, 0),
        _magnitude(age_seconds(ready_since(pod), now)) if ready else 0,
        -_restarts(pod),
        _magnitude(age),
        uid_of(pod),
    )


def _magnitude(seconds: float) -> int:
    """The power of two that an age lies in; 0 for what has just begun."""
    return int(max(seconds, 0)).bit_length()


def _restarts(pod: Mapping[str, Any]) -> int:
    statuses: Sequence[Mapping[str, Any]] = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(status.get("restartCount") or 0) for status in statuses), default=0)
