"""Taints of a node and eviction of the node's pods, derived from lease and reported status. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.controllers.tolerations import toleration_seconds
from agentpool_devcluster.kube.objects import age_seconds, condition_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

_OURS = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """Time limits for lost nodes."""

    grace_seconds: float = 40.0  # without a renewed lease until the node counts as lost
    eviction_seconds: float = 300.0  # on a lost node, for pods without a toleration of their own


def wanted_taints(node: Mapping[str, Any], now: str) -> list[dict[str, Any]]:
    """Return the taints that the node should carry: user taints, plus taints for readiness and cordon."""
    present: Sequence[Mapping[str, Any]] = node["spec"].get("taints") or ()
    taints = [dict(taint) for taint in present if taint["key"] not in _OURS]
    keys = [UNSCHEDULABLE] if node["spec"].get("unschedulable") else []
    ready = (condition_of(node, "Ready") or {}).get("status", "Unknown")
    if ready != "True":
        keys.append(NOT_READY if ready == "False" else UNREACHABLE)
    for key in keys:
        effects = ("NoSchedule",) if key == UNSCHEDULABLE else ("NoSchedule", "NoExecute")
        for effect in effects:
            added = {"timeAdded": _since(present, key, effect) or now} if effect == "NoExecute" else {}
            taints.append({"key": key, "effect": effect, **added})
    return taints


def is_lost(node: Mapping[str, Any]) -> bool:
    """Return whether the node is silent, so that no agent confirms the end of a pod."""
    return (condition_of(node, "Ready") or {}).get("status") == "Unknown"


def evict_in(pod: Mapping[str, Any], node: Mapping[str, Any], patience: Patience, now: datetime) -> float | None:
    """Return the seconds until the node's NoExecute taints evict the pod: 0 or less for now; None for never."""
    waits: list[float] = []
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] != "NoExecute":
            continue
        stay = toleration_seconds(pod, taint)
        if stay == 0 and taint["key"] in _OURS and not _states_toleration(pod):
            stay = patience.eviction_seconds
        if stay is not None:
            waits.append(stay - age_seconds(taint.get("timeAdded"), now))
    return min(waits) if waits else None


def _states_toleration(pod: Mapping[str, Any]) -> bool:
    """Return whether admission or the user gave the pod tolerations for lost nodes; otherwise the defaults apply."""
    return any(one.get("key") in {NOT_READY, UNREACHABLE} for one in pod["spec"].get("tolerations") or ())


def _since(taints: Sequence[Mapping[str, Any]], key: str, effect: str) -> str | None:
    found = next((taint for taint in taints if taint["key"] == key and taint["effect"] == effect), None)
    return found.get("timeAdded") if found else None
