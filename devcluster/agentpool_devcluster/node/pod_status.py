"""A pod's status from the states of the containers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.objects import condition_holds, condition_of
from agentpool_devcluster.node.container_state import ContainerRecord, Running, Terminated, Waiting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class PodFacts:
    """Facts about a pod on the node."""

    init: Sequence[ContainerRecord]  # init containers and sidecars, in order
    main: Sequence[ContainerRecord]
    sidecars: frozenset[str]  # names of init containers that keep running
    initialized: bool  # all init containers are through, all sidecars started
    set_up: bool  # address and volumes are there
    finished: bool  # nothing will be started any more
    pod_ip: str  # empty where none is given yet
    host_ip: str
    started_at: str  # RFC 3339: when the node took the pod
    failure: tuple[str, str] | None = None  # reason and message of a pod the node failed as a whole


def status_of(pod: Mapping[str, Any], facts: PodFacts, now: str) -> dict[str, Any]:
    """Return the status that the node reports."""
    phase = phase_of(facts)
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions(pod, facts, phase, now),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": facts.started_at,
        "qosClass": (pod.get("status") or {}).get("qosClass") or qos_class(pod),
        "containerStatuses": [record.to_status() for record in facts.main],
    }
    if facts.init:
        status["initContainerStatuses"] = [record.to_status() for record in facts.init]
    if facts.pod_ip:
        status |= {"podIP": facts.pod_ip, "podIPs": [{"ip": facts.pod_ip}]}
    if facts.failure is not None:
        status |= {"reason": facts.failure[0], "message": facts.failure[1]}
    return status


def phase_of(facts: PodFacts) -> str:
    """Return the phase: Pending until a main container ran, then Running, and at the end the outcome."""
    if facts.failure is not None:
        return "Failed"
    if facts.finished:
        ends = [record.state for record in [*facts.main, *_plain_init(facts)]]
        good = all(isinstance(end, Terminated) and end.exit_code == 0 for end in ends)
        return "Succeeded" if good else "Failed"
    begun = any(_has_run(record) for record in facts.main)
    return "Running" if facts.initialized and begun else "Pending"


def qos_class(pod: Mapping[str, Any]) -> str:
    """BestEffort, Burstable or Guaranteed, by the containers' requests and limits of cpu and memory."""
    resources = [container.get("resources") or {} for container in pod["spec"].get("containers") or ()]
    pairs = [(one.get("requests") or {}, one.get("limits") or {}) for one in resources]
    names = ("cpu", "memory")
    if not any(name in part for pair in pairs for part in pair for name in names):
        return "BestEffort"
    guaranteed = all(
        limits.get(name) and requests.get(name, limits[name]) == limits[name]
        for requests, limits in pairs
        for name in names
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _plain_init(facts: PodFacts) -> list[ContainerRecord]:
    return [record for record in facts.init if record.name not in facts.sidecars]


def _has_run(record: ContainerRecord) -> bool:
    return not isinstance(record.state, Waiting) or record.last is not None or record.restarts > 0


def _conditions(pod: Mapping[str, Any], facts: PodFacts, phase: str, now: str) -> list[dict[str, Any]]:
    over = phase in {"Succeeded", "Failed"}
    containers = _containers_condition(facts, over=over)
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    closed = [gate for gate in gates if not condition_holds(pod, gate)]
    ready = (
        dict(containers)
        if containers["status"] == "False" or not closed
        else {
            "status": "False",
            "reason": "ReadinessGatesNotReady",
            "message": f"readiness gates not ready: {', '.join(closed)}",
        }
    )
    initialized = (
        {"status": "True"}
        if facts.initialized
        else {
            "status": "False",
            "reason": "ContainersNotInitialized",
            "message": f"containers with incomplete status: {_names(_incomplete(facts))}",
        }
    )
    wanted = {
        "PodReadyToStartContainers": {"status": "True" if facts.set_up and not over else "False"},
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": containers,
        "PodScheduled": {"status": "True"},
    }
    return [_condition(pod, kind, values, now) for kind, values in wanted.items()]


def _condition(pod: Mapping[str, Any], kind: str, values: Mapping[str, str], now: str) -> dict[str, Any]:
    """Return a condition in full: a merge patch removes an old reason only through null."""
    before = condition_of(pod, kind) or {}
    since = before.get("lastTransitionTime") if before.get("status") == values["status"] else None
    return {"type": kind, "reason": None, "message": None, **values, "lastTransitionTime": since or now}


def _containers_condition(facts: PodFacts, *, over: bool) -> dict[str, Any]:
    if over:
        reason = "PodFailed" if phase_of(facts) == "Failed" else "PodCompleted"
        return {"status": "False", "reason": reason}
    needed = [*(record for record in facts.init if record.name in facts.sidecars), *facts.main]
    unready = [record for record in needed if not record.ready]
    if unready:
        message = f"containers with unready status: {_names(unready)}"
        return {"status": "False", "reason": "ContainersNotReady", "message": message}
    return {"status": "True"}


def _incomplete(facts: PodFacts) -> list[ContainerRecord]:
    return [
        record
        for record in facts.init
        if not (isinstance(record.state, Terminated) and record.state.exit_code == 0)
        and not (record.name in facts.sidecars and isinstance(record.state, Running) and record.started)
    ]


def _names(records: Sequence[ContainerRecord]) -> str:
    return "[" + " ".join(record.name for record in records) + "]"
