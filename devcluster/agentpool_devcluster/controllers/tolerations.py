"""Taints and tolerations: which of a node's taints a pod does not bear. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def untolerated_taint(
    pod: Mapping[str, Any], node: Mapping[str, Any], *, effects: Sequence[str]
) -> Mapping[str, Any] | None:
    """Return the first of the node's taints, with one of these effects, that the pod does not tolerate; or None."""
    tolerations: Sequence[Mapping[str, Any]] = pod["spec"].get("tolerations") or ()
    taints: Sequence[Mapping[str, Any]] = node["spec"].get("taints") or ()
    for taint in taints:
        if taint["effect"] in effects and not any(tolerates(toleration, taint) for toleration in tolerations):
            return taint
    return None


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Return whether a toleration covers a taint: an empty effect covers all effects, an empty key with Exists all."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def toleration_seconds(pod: Mapping[str, Any], taint: Mapping[str, Any]) -> float | None:
    """Return how long the pod may stay on a node with that NoExecute taint: seconds, None for ever, 0 not at all."""
    tolerations: Sequence[Mapping[str, Any]] = pod["spec"].get("tolerations") or ()
    matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
    if not matching:
        return 0.0
    limits = [float(one["tolerationSeconds"]) for one in matching if one.get("tolerationSeconds") is not None]
    return min(limits) if limits else None
