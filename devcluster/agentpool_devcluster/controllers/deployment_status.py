"""Status of a Deployment: counts and the conditions Available and Progressing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentpool_devcluster.controllers.rollout import strategy_of, wanted_replicas
from agentpool_devcluster.kube.objects import (
    KubeObject,
    age_seconds,
    condition_of,
    name_of,
    now_text,
    with_condition,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

DEFAULT_DEADLINE_SECONDS = 600

_COUNTS = ("replicas", "readyReplicas", "availableReplicas", "terminatingReplicas")


def status_of(
    deployment: KubeObject,
    current: KubeObject | None,
    old: Sequence[KubeObject],
    now: datetime,
) -> dict[str, Any]:
    """Return the status that the Deployment should have."""
    every = [*old, *([current] if current else [])]
    total = {field: sum(_count(one, field) for one in every) for field in _COUNTS}
    wanted = wanted_replicas(deployment["spec"])
    size = sum(wanted_replicas(one["spec"]) for one in every)
    status: dict[str, Any] = {
        "observedGeneration": int(deployment["metadata"].get("generation") or 0),
        **total,
        "updatedReplicas": _count(current, "replicas") if current else 0,
        "unavailableReplicas": max(size - total["availableReplicas"], 0),
    }
    conditions = list((deployment.get("status") or {}).get("conditions") or [])
    conditions = with_condition(conditions, _available(deployment, wanted, total["availableReplicas"]), now_text(now))
    status["conditions"] = _with_progress(deployment, current, status, conditions, now)
    return status


def is_complete(deployment: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Return whether the rollout is complete: all desired pods are current and available, and none is old."""
    wanted = wanted_replicas(deployment["spec"])
    counts = (status.get("updatedReplicas"), status.get("replicas"), status.get("availableReplicas"))
    return all(count == wanted for count in counts)


def seconds_to_deadline(deployment: KubeObject, status: Mapping[str, Any], now: datetime) -> float | None:
    """Return the seconds until the rollout counts as stuck; None if complete, paused or already reported as stuck."""
    progressing = condition_of({"status": status}, "Progressing")
    if progressing is None or deployment["spec"].get("paused") or is_complete(deployment, status):
        return None
    if progressing.get("status") == "False":
        return None
    return _deadline(deployment) - age_seconds(progressing.get("lastUpdateTime"), now)


def _available(deployment: KubeObject, wanted: int, available: int) -> dict[str, Any]:
    if available >= wanted - strategy_of(deployment["spec"]).max_unavailable:
        return {
            "type": "Available",
            "status": "True",
            "reason": "MinimumReplicasAvailable",
            "message": "Deployment has minimum availability.",
        }
    return {
        "type": "Available",
        "status": "False",
        "reason": "MinimumReplicasUnavailable",
        "message": "Deployment does not have minimum availability.",
    }


def _with_progress(
    deployment: KubeObject,
    current: KubeObject | None,
    status: Mapping[str, Any],
    conditions: list[dict[str, Any]],
    now: datetime,
) -> list[dict[str, Any]]:
    previous = condition_of({"status": {"conditions": conditions}}, "Progressing")
    wanted = _progressing(deployment, current, status, previous, now)
    if wanted is None:
        return conditions
    moved = previous is None or any(previous.get(field) != wanted[field] for field in ("status", "reason", "message"))
    if moved or wanted["reason"] == "ReplicaSetUpdated":
        wanted["lastUpdateTime"] = now_text(now)
    return with_condition(conditions, wanted, now_text(now))


def _progressing(
    deployment: KubeObject,
    current: KubeObject | None,
    status: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    now: datetime,
) -> dict[str, Any] | None:
    """Return the Progressing condition that should hold now; None for no change."""
    subject = f'ReplicaSet "{name_of(current)}"' if current else f'Deployment "{name_of(deployment)}"'
    paused = deployment["spec"].get("paused")
    if paused or (previous or {}).get("reason") == "DeploymentPaused":
        word = "paused" if paused else "resumed"
        return _condition("Unknown", f"Deployment{word.capitalize()}", f"Deployment is {word}")
    if current is not None and is_complete(deployment, status):
        return _condition("True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.")
    if previous is None:
        created = current and _condition(
            "True", "NewReplicaSetCreated", f'Created new replica set "{name_of(current)}"'
        )
        return created or None
    if _has_progressed(deployment, status):
        return _condition("True", "ReplicaSetUpdated", f"{subject} is progressing.")
    resting = previous.get("reason") in {"NewReplicaSetAvailable", "ProgressDeadlineExceeded"}
    if not resting and age_seconds(previous.get("lastUpdateTime"), now) >= _deadline(deployment):
        return _condition("False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing.")
    return None


def _has_progressed(deployment: KubeObject, status: Mapping[str, Any]) -> bool:
    """Return whether there are more new pods, fewer old pods, or more ready pods than in the stored status."""
    before = deployment.get("status") or {}

    def old(counts: Mapping[str, Any]) -> int:
        return int(counts.get("replicas") or 0) - int(counts.get("updatedReplicas") or 0)

    def grew(field: str) -> bool:
        return int(status.get(field) or 0) > int(before.get(field) or 0)

    return grew("updatedReplicas") or grew("readyReplicas") or grew("availableReplicas") or old(status) < old(before)


def _condition(status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": "Progressing", "status": status, "reason": reason, "message": message}


def _count(replica_set: Mapping[str, Any], field: str) -> int:
    return int((replica_set.get("status") or {}).get(field) or 0)


def _deadline(deployment: Mapping[str, Any]) -> int:
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return DEFAULT_DEADLINE_SECONDS if seconds is None else int(seconds)
