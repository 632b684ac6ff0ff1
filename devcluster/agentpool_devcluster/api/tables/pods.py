"""A pod in the columns of kubectl: state, ready containers, restarts."""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.objects import Json, dig, metadata, parse_timestamp
from agentpool_devcluster.api.tables.ages import duration_text


def _statuses(body: Json, field: str = "containerStatuses") -> list[Json]:
    found = dig(body, "status", field)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def pod_ready(body: Json) -> str:
    """Return ready containers out of all."""
    ready = sum(1 for item in _statuses(body) if item.get("ready"))
    return f"{ready}/{len(dig(body, 'spec', 'containers') or ())}"


def pod_restarts(body: Json) -> str:
    """Return the restarts of all containers, and the time of the last restart."""
    statuses = _statuses(body)
    restarts = sum(int(item.get("restartCount") or 0) for item in statuses)
    ends = [parse_timestamp(dig(item, "lastState", "terminated", "finishedAt")) for item in statuses]
    last = max((moment for moment in ends if moment), default=None)
    return f"{restarts} ({duration_text(last)} ago)" if restarts and last else str(restarts)


def pod_phase(body: Json) -> str:
    """Return the word that best says how the pod is."""
    if metadata(body).get("deletionTimestamp"):
        return "Unknown" if dig(body, "status", "reason") == "NodeLost" else "Terminating"
    word = str(dig(body, "status", "reason") or dig(body, "status", "phase") or "Unknown")
    gated = any(
        item.get("type") == "PodScheduled" and item.get("reason") == "SchedulingGated"
        for item in dig(body, "status", "conditions") or ()
    )
    if gated:
        return "SchedulingGated"
    return _init_word(body) or _container_word(body, word)


def _init_word(body: Json) -> str:
    statuses = _statuses(body, "initContainerStatuses")
    for position, item in enumerate(statuses):
        state = item.get("state") or {}
        terminated = state.get("terminated")
        if terminated and terminated.get("exitCode") == 0:
            continue
        if terminated:
            return f"Init:{_end(terminated)}"
        reason = dig(state, "waiting", "reason")
        if reason and reason != "PodInitializing":
            return f"Init:{reason}"
        return f"Init:{position}/{len(statuses)}"
    return ""


def _container_word(body: Json, word: str) -> str:
    running = False
    for item in reversed(_statuses(body)):
        state = item.get("state") or {}
        waiting, terminated = dig(state, "waiting", "reason"), state.get("terminated")
        if waiting:
            word = str(waiting)
        elif terminated:
            word = _end(terminated)
        elif item.get("ready") and state.get("running"):
            running = True
    if word == "Completed" and running:
        ready = any(
            condition.get("type") == "Ready" and condition.get("status") == "True"
            for condition in dig(body, "status", "conditions") or ()
        )
        return "Running" if ready else "NotReady"
    return word


def _end(terminated: Any) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode')}"
