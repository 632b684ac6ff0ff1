"""Order in which surplus pods of a ReplicaSet are deleted. Pure.

The order is that of the Kubernetes controller: unassigned, pending, not ready, low `pod-deletion-cost`, crowded on a
node, recently ready, often restarted, recently created. Ages of readiness are compared by powers of two; pods of about
the same age are ordered by uid.
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
    """Return the pods in order of deletion.

    `related` are all active pods of the same Deployment: pods on a node with many related pods go earlier.
    """
    crowd = Counter(node_of(pod) for pod in related if node_of(pod))
    return sorted(pods, key=lambda pod: _rank(pod, crowd, now))


def deletion_cost(pod: Mapping[str, Any]) -> int:
    """Return the pod's deletion cost; 0 if unset or not a 32-bit integer (the API would refuse it)."""
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
    """Return the power of two of an age; 0 for ages below one second."""
    return int(max(seconds, 0)).bit_length()


def _restarts(pod: Mapping[str, Any]) -> int:
    statuses: Sequence[Mapping[str, Any]] = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(status.get("restartCount") or 0) for status in statuses), default=0)
