"""What a controller reads from a pod: whether it counts, is ready, is available. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.objects import age_seconds, condition_holds, condition_of, is_terminating

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

FINISHED_PHASES = frozenset({"Succeeded", "Failed"})


def phase_of(pod: Mapping[str, Any]) -> str:
    """The pod's phase; a pod nobody has reported on yet is Pending."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def node_of(pod: Mapping[str, Any]) -> str:
    """The node the pod is bound to; empty where it waits for one."""
    return str(pod["spec"].get("nodeName") or "")


def is_finished(pod: Mapping[str, Any]) -> bool:
    """Whether the pod ran to its end and will not run again."""
    return phase_of(pod) in FINISHED_PHASES


def is_active(pod: Mapping[str, Any]) -> bool:
    """Whether the pod counts as a replica: neither finished nor asked to go."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's Ready condition holds."""
    return condition_holds(pod, "Ready")


def ready_since(pod: Mapping[str, Any]) -> str | None:
    """When the pod became ready; None where it is not."""
    condition = condition_of(pod, "Ready")
    return condition.get("lastTransitionTime") if condition and condition.get("status") == "True" else None


def available_in(pod: Mapping[str, Any], min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until the pod counts as available: 0 or less where it does; None where it is not ready."""
    if not is_ready(pod):
        return None
    return min_ready_seconds - age_seconds(ready_since(pod), now) if min_ready_seconds else 0.0
