"""Views of watched objects: the few fields that decisions and conditions need.

Pure parsing of the API's JSON. `registry` keeps the views, `conditions` and `loop` read them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from agentpool_core.errors import SettingError
from agentpool_core.jobs import PoolRef
from agentpool_operator.pools.field_managers import appliers_of_replicas, changes_of_others, last_foreign_manager
from agentpool_operator.pools.nesting import TOO_DEEP, too_deep
from agentpool_operator.pools.resolve import requests_of

Json = dict[str, Any]
POOL_LABEL = "agentpool.dev/pool"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
GOING_COST = -2_000_000_000  # of a pod to remove next; the annotation holds an int32
LAST_WORDS = 300  # characters of a container's last line that a condition repeats
CREATING = frozenset({"ContainerCreating", "PodInitializing"})  # waiting reasons of a start; all others are failures


def seconds_of(text: str | None) -> float | None:
    """Return an RFC 3339 time as seconds since the epoch; None without a time."""
    return None if not text else datetime.fromisoformat(text).timestamp()


def rfc3339(seconds: float) -> str:
    """Return seconds since the epoch in Kubernetes' form of times."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pool_of(pod: Json) -> PoolRef | None:
    """Return the pool in a pod's label; None for a pod that is not a worker of a pool.

    Any user with permission to create pods may set the label, so it may be impossible, and a pod with a different
    controller is neither counted as a worker nor marked for removal.
    """
    metadata = pod["metadata"]
    name = (metadata.get("labels") or {}).get(POOL_LABEL)
    owner: Json = next((o for o in metadata.get("ownerReferences") or [] if o.get("controller")), {})
    if owner and (owner.get("kind") != "ReplicaSet" or not str(owner.get("name")).startswith(f"{name}-")):
        return None
    try:
        return PoolRef(metadata["namespace"], name) if name else None
    except SettingError:
        return None


def trim_resource(resource: Json) -> Json:
    """Return an AgentPool as kept: without `managedFields`, and without a part of the spec that is too deep.

    A part with a nesting that could exhaust the stack is replaced by a mark, which `parsing` reports.
    """
    kept = without_owners(resource)
    place = too_deep(kept.get("spec"))
    return kept if place is None else {**kept, "spec": {TOO_DEEP: place}}


def without_owners(thing: Json) -> Json:
    """Return an object without `managedFields`, which are half of its size and rarely needed."""
    metadata = {name: value for name, value in thing["metadata"].items() if name != "managedFields"}
    return {**thing, "metadata": metadata}


def version_of(thing: Json) -> str:
    """Return an object's resourceVersion; empty if absent."""
    return str(thing["metadata"].get("resourceVersion", ""))


def is_later(version: str, other: str) -> bool:
    """Return whether a resourceVersion is later than a second; False for a text that is no number."""
    return version.isdigit() and other.isdigit() and int(version) > int(other)


@dataclass(frozen=True, kw_only=True, slots=True)
class PodView:
    """A worker's pod."""

    name: str
    uid: str
    node: str  # empty = not scheduled
    created_at: float  # seconds since the epoch
    ready: bool  # whether the readiness probe passes
    startup_s: float | None  # seconds from creation until ready; None = not ready
    terminating: bool
    ended: bool  # Succeeded or Failed
    trouble: str  # obstacle to the start, as a CamelCase word; empty = none known
    trouble_message: str
    deletion_cost: int
    devices: tuple[tuple[str, int], ...] = ()  # extended resources of a pod on a node, with their amounts
    ready_at: float = 0.0  # seconds since the epoch: last change of the readiness
    failed: bool = False  # refused by the node, or evicted
    setting_up: bool = False  # on the node, without volumes and network
    scheduled_at: float = 0.0  # seconds since the epoch: time of scheduling
    resource_version: str = ""

    @property
    def alive(self) -> bool:
        """Whether the pod counts as a worker of the pool."""
        return not self.terminating and not self.ended


def pod_view(pod: Json) -> PodView:
    """Return the view of a pod."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    ready = conditions.get("Ready", {})
    trouble, message = _trouble(status, conditions)
    cost = (metadata.get("annotations") or {}).get(DELETION_COST, "0")
    return PodView(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        node=(pod.get("spec") or {}).get("nodeName") or "",
        created_at=seconds_of(metadata.get("creationTimestamp")) or 0.0,
        ready=ready.get("status") == "True",
        startup_s=_startup_s(metadata, status, conditions) if ready.get("status") == "True" else None,
        terminating=bool(metadata.get("deletionTimestamp")),
        ended=status.get("phase") in {"Succeeded", "Failed"},
        ready_at=seconds_of(ready.get("lastTransitionTime")) or 0.0,
        devices=_devices(pod),
        failed=status.get("phase") == "Failed",
        setting_up=_is_setting_up(pod, status, conditions),
        scheduled_at=_scheduled_at(metadata, conditions),
        trouble=trouble,
        trouble_message=message,
        deletion_cost=int(cost) if cost.lstrip("-").isdigit() else 0,
        resource_version=metadata.get("resourceVersion", ""),
    )


def _devices(pod: Json) -> tuple[tuple[str, int], ...]:
    spec = pod.get("spec") or {}
    if not spec.get("nodeName"):
        return ()
    return tuple((name, amount) for name, amount in requests_of(spec).items() if "/" in name)


def _is_setting_up(pod: Json, status: Json, conditions: dict[str, Json]) -> bool:
    """Return whether the node still sets the pod up, by its condition (Kubernetes 1.29) or by its containers."""
    if not (pod.get("spec") or {}).get("nodeName") or status.get("phase") != "Pending":
        return False
    if "PodReadyToStartContainers" in conditions:
        return conditions["PodReadyToStartContainers"].get("status") != "True"
    containers = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    return all(((c.get("state") or {}).get("waiting") or {}).get("reason") in CREATING for c in containers)


def _scheduled_at(metadata: Json, conditions: dict[str, Json]) -> float:
    """Return the time of scheduling by the control plane's clock; the creation if no condition has it."""
    found = conditions.get("PodScheduled", {}).get("lastTransitionTime") or metadata.get("creationTimestamp")
    return seconds_of(found) or 0.0


def _startup_s(metadata: Json, status: Json, conditions: dict[str, Json]) -> float:
    """Return the start-up time: until scheduling by the control plane's clock, from there by the node's."""
    created = seconds_of(metadata.get("creationTimestamp")) or 0.0
    ready = seconds_of(conditions["Ready"].get("lastTransitionTime")) or created
    started = seconds_of(status.get("startTime"))
    if started is None:
        return max(0.0, ready - created)
    return max(0.0, _scheduled_at(metadata, conditions) - created) + max(0.0, ready - started)


def _trouble(status: Json, conditions: dict[str, Json]) -> tuple[str, str]:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        gated = scheduled.get("reason") == "SchedulingGated"
        return "SchedulingGated" if gated else "FailedScheduling", scheduled.get("message", "")
    containers = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in CREATING:
            return waiting["reason"], _why(waiting, _last_end(container))
        if _is_between_crashes(container, conditions):
            return "CrashLoopBackOff", _last_end(container)
    if status.get("phase") == "Failed":
        return status.get("reason") or "PodFailed", status.get("message", "")
    return "", ""


def _is_between_crashes(container: Json, conditions: dict[str, Json]) -> bool:
    """Return whether the container has restarted without being ready since, in short runs between pauses.

    Also with exit code 0: a worker runs until stopped.
    """
    last = (container.get("lastState") or {}).get("terminated") or {}
    if not container.get("restartCount") or "exitCode" not in last or container.get("ready"):
        return False
    began = seconds_of(((container.get("state") or {}).get("running") or {}).get("startedAt"))
    unready_since = seconds_of(conditions.get("Ready", {}).get("lastTransitionTime"))
    return began is None or unready_since is None or unready_since <= began


def _why(waiting: Json, end: str) -> str:
    """Return the cause: for a crash the end of the last run, else the message."""
    message = waiting.get("message") or ""
    return (end or message) if waiting["reason"] == "CrashLoopBackOff" else (message or end)


def _last_end(container: Json) -> str:
    """Describe the end of the container's last run, with the last lines; empty before the first run."""
    ended = (container.get("lastState") or {}).get("terminated") or {}
    if "exitCode" not in ended:
        return ""
    cause = f" ({ended['reason']})" if ended.get("reason") not in {None, "", "Error", "Completed"} else ""
    words = _last_line(ended.get("message") or "")
    end = f"container {container['name']} ended with exit code {ended['exitCode']}{cause}"
    return f"{end}: {words}" if words else end


def _last_line(text: str) -> str:
    """Return the last line that is not empty, of bounded length and without control characters."""
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    return last if len(last) <= LAST_WORDS else f"{last[: LAST_WORDS - 1]}…"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentView:
    """A Deployment with a pool's name; `raw` is for comparison with the desired state."""

    uid: str
    owner_uid: str  # of the controlling owner; empty = none
    generation: int
    resource_version: str
    replicas: int  # spec
    observed_generation: int
    total: int  # pods that exist
    updated: int  # pods of the newest template
    ready: int
    failures: tuple[tuple[str, str], ...]  # reason and message of failure conditions
    appliers_of_replicas: frozenset[str]  # field managers that own spec.replicas by server-side apply
    last_foreign_manager: str  # the field manager of the newest foreign change; empty = none
    changed_by_others: str  # foreign fields beside ours, with their managers; empty = none
    paused: bool  # `kubectl rollout pause`: a changed template does not reach the pods
    raw: Json  # without managedFields

    @property
    def rolled_out(self) -> bool:
        """Whether the controller has caught up: seen the spec, and replaced and sized the pods."""
        return self.observed_generation >= self.generation and self.updated == self.replicas == self.total

    def newer_than(self, other: DeploymentView) -> bool:
        """Return whether this is a later state of the same object (resourceVersions are comparable numbers)."""
        return self.uid == other.uid and is_later(self.resource_version, other.resource_version)

    def as_new_as(self, other: DeploymentView) -> bool:
        """Return whether this is the same or a later state of the same object."""
        same = self.uid == other.uid and self.resource_version == other.resource_version
        return same or self.newer_than(other)

    def resized(self, replicas: int, resource_version: str) -> DeploymentView:
        """Return this Deployment after a change of scale."""
        metadata = {
            **self.raw["metadata"],
            "generation": self.generation + 1,
            "resourceVersion": resource_version,
        }
        resized = {**self.raw, "metadata": metadata, "spec": {**self.raw["spec"], "replicas": replicas}}
        return replace(
            deployment_view(resized),
            appliers_of_replicas=self.appliers_of_replicas,
            last_foreign_manager=self.last_foreign_manager,
            changed_by_others=self.changed_by_others,
        )


def deployment_view(deployment: Json) -> DeploymentView:
    """Return the view of a Deployment."""
    metadata, spec, status = deployment["metadata"], deployment.get("spec") or {}, deployment.get("status") or {}
    owner: Json = next((o for o in metadata.get("ownerReferences") or [] if o.get("controller")), {})
    failures = [
        (c.get("reason", ""), c.get("message", ""))
        for c in status.get("conditions") or []
        if (c["type"] == "ReplicaFailure" and c["status"] == "True")
        or (c["type"] == "Progressing" and c["status"] == "False")
    ]
    return DeploymentView(
        uid=metadata.get("uid", ""),
        owner_uid=owner.get("uid", ""),
        generation=int(metadata.get("generation", 0)),
        resource_version=metadata.get("resourceVersion", ""),
        replicas=int(spec.get("replicas", 1)),
        observed_generation=int(status.get("observedGeneration", 0)),
        total=int(status.get("replicas", 0)),
        updated=int(status.get("updatedReplicas", 0)),
        ready=int(status.get("readyReplicas", 0)),
        failures=tuple(failures),
        appliers_of_replicas=appliers_of_replicas(deployment),
        last_foreign_manager=last_foreign_manager(deployment),
        changed_by_others=changes_of_others(deployment),
        paused=bool(spec.get("paused")),
        raw=without_owners(deployment),
    )
