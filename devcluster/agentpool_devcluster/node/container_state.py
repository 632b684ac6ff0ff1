"""State of a container, as in the status. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any

EXIT_START_FAILED = 128  # the kubelet's exit code for a program that could not be started
EXIT_LOST = 137  # of a container after an unobserved end of its process


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Not running, but may still start."""

    reason: str  # CamelCase
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """The process is there."""

    started_at: str  # RFC 3339


@dataclass(frozen=True, kw_only=True, slots=True)
class Terminated:
    """The process ended."""

    exit_code: int  # 128 + N after signal N
    reason: str  # Completed, Error, OOMKilled, StartError, ContainerStatusUnknown
    message: str = ""
    started_at: str | None = None  # RFC 3339; None if never started
    finished_at: str | None = None  # RFC 3339


State = Waiting | Running | Terminated


@dataclass(kw_only=True, slots=True)
class ContainerRecord:
    """Record of a container across its runs."""

    name: str
    image: str
    state: State = field(default_factory=lambda: Waiting(reason="ContainerCreating"))
    last: Terminated | None = None  # the previous run
    restarts: int = 0  # runs after the first
    ready: bool = False  # running, started, and the readiness probe agrees
    started: bool = False  # running, and the startup probe agrees
    container_id: str = ""  # of the present or last run

    def to_status(self) -> dict[str, Any]:
        """Return the entry in the pod's `containerStatuses`."""
        status: dict[str, Any] = {
            "name": self.name,
            "image": self.image,
            "imageID": self.image if self.container_id else "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": _state(self.state, self.container_id),
            "lastState": _state(self.last, self.container_id) if self.last else {},
        }
        if self.container_id:
            status["containerID"] = self.container_id
        return status


def ended(exit_code: int, *, started_at: str, finished_at: str, message: str = "", oom: bool = False) -> Terminated:
    """Return the state of a run that ended with `exit_code`."""
    reason = "Completed" if exit_code == 0 else "Error"
    if oom:
        reason, exit_code = "OOMKilled", 128 + signal.SIGKILL
    return Terminated(
        exit_code=exit_code, reason=reason, message=message, started_at=started_at, finished_at=finished_at
    )


def record_from_status(container: dict[str, Any], status: dict[str, Any] | None, now: str) -> ContainerRecord:
    """Return the record to continue with after a restart of the node; the running process is lost."""
    record = ContainerRecord(name=container["name"], image=container.get("image") or "")
    if status is None:
        return record
    record.restarts = int(status.get("restartCount") or 0)
    state = status.get("state") or {}
    if "terminated" in state:
        record.state = _terminated_from(state["terminated"])
    elif "running" in state:
        record.state = Terminated(
            exit_code=EXIT_LOST,
            reason="ContainerStatusUnknown",
            message="The container could not be located when the node was restarted",
            started_at=state["running"].get("startedAt"),
            finished_at=now,
        )
    return record


def _terminated_from(state: dict[str, Any]) -> Terminated:
    return Terminated(
        exit_code=int(state.get("exitCode") or 0),
        reason=str(state.get("reason") or ""),
        message=str(state.get("message") or ""),
        started_at=state.get("startedAt"),
        finished_at=state.get("finishedAt"),
    )


def _state(state: State, container_id: str) -> dict[str, Any]:
    match state:
        case Waiting():
            shown: dict[str, Any] = {"reason": state.reason, "message": state.message}
            return {"waiting": {name: value for name, value in shown.items() if value}}
        case Running():
            return {"running": {"startedAt": state.started_at}}
        case Terminated():
            shown = {
                "exitCode": state.exit_code,
                "reason": state.reason,
                "message": state.message,
                "startedAt": state.started_at,
                "finishedAt": state.finished_at,
                "containerID": container_id,
            }
            kept = {name: value for name, value in shown.items() if value not in ("", None)}
            return {"terminated": kept}
