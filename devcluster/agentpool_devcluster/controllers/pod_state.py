"""State of a pod as a controller reads it: counted, ready, available. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.objects import age_seconds, condition_holds, condition_of, is_terminating

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

FINISHED_PHASES = frozenset({"Succeeded", "Failed"})


def phase_of(pod: Mapping[str, Any]) -> str:
    """Return the pod's phase; a pod without any report is Pending."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def node_of(pod: Mapping[str, Any]) -> str:
    """Return the node that the pod is bound to; empty for an unbound pod."""
    return str(pod["spec"].get("nodeName") or "")


def is_finished(pod: Mapping[str, Any]) -> bool:
    """Return whether the pod has ended and will not run again."""
    return phase_of(pod) in FINISHED_PHASES


def is_active(pod: Mapping[str, Any]) -> bool:
    """Return whether the pod counts as a replica: neither finished nor terminating."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether the pod's Ready condition holds."""
    return condition_holds(pod, "Ready")


def ready_since(pod: Mapping[str, Any]) -> str | None:
    """Return the time at which the pod became ready; None if not ready."""
    condition = condition_of(pod, "Ready")
    return condition.get("lastTransitionTime") if condition and condition.get("status") == "True" else None


def available_in(pod: Mapping[str, Any], min_ready_seconds: int, now: datetime) -> float | None:
    """Return the seconds until the pod counts as available: 0 or less if available; None if not ready."""
    if not is_ready(pod):
        return None
    return min_ready_seconds - age_seconds(ready_since(pod), now) if min_ready_seconds else 0.0
