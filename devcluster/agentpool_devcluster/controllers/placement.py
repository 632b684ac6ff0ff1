"""Placement of a pod: nodes that fit, the best of them, and the reasons against the rest. Pure.

Filters run per node in the scheduler's order; the first failing filter gives the node's reason, in the words of the
Kubernetes scheduler. Among the nodes that fit, the node with the most free room wins.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.controllers.tolerations import untolerated_taint
from agentpool_devcluster.kube.objects import KubeObject, labels_of, name_of
from agentpool_devcluster.kube.quantity import Amounts, amounts_of, pod_requests
from agentpool_devcluster.kube.selectors import node_selector_matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ZERO = Decimal(0)


@dataclass(kw_only=True, slots=True)
class NodeRoom:
    """A node and its used resources."""

    node: KubeObject
    allocatable: Amounts  # offered by the node
    taken: Amounts = field(default_factory=dict)  # requested by bound pods
    pods: int = 0  # bound pods
    host_ports: set[tuple[int, str]] = field(default_factory=set)  # (port, protocol) taken on the host

    def take(self, pod: Mapping[str, Any]) -> None:
        """Count a pod as bound here."""
        for name, amount in pod_requests(pod).items():
            self.taken[name] = self.taken.get(name, ZERO) + amount
        self.pods += 1
        self.host_ports |= host_ports(pod)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """The outcome for a pod."""

    node: str | None  # None if no node fits
    message: str = ""  # reason against, in the scheduler's words


def rooms_of(nodes: Sequence[KubeObject], pods: Sequence[tuple[str, KubeObject]]) -> list[NodeRoom]:
    """Return the nodes with the pods on them; `pods` pairs the name of a pod's node with the pod."""
    rooms: dict[str, NodeRoom] = {}
    for node in nodes:
        offered = amounts_of((node.get("status") or {}).get("allocatable"))
        rooms[name_of(node)] = NodeRoom(node=node, allocatable=offered)
    for node_name, pod in pods:
        if node_name in rooms:
            rooms[node_name].take(pod)
    return list(rooms.values())


def unsupported(pod: KubeObject) -> str | None:
    """Return the placement demand of the pod that this scheduler does not support; None if all are supported."""
    affinity = pod["spec"].get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        if (affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution"):
            return f"spec.affinity.{kind}.requiredDuringSchedulingIgnoredDuringExecution"
    spread: Sequence[Mapping[str, Any]] = pod["spec"].get("topologySpreadConstraints") or ()
    if any(constraint.get("whenUnsatisfiable") != "ScheduleAnyway" for constraint in spread):
        return "spec.topologySpreadConstraints with whenUnsatisfiable: DoNotSchedule"
    return None


def place(pod: KubeObject, rooms: Sequence[NodeRoom]) -> Placement:
    """Return the best node for the pod, or the reason that none fits."""
    demand = unsupported(pod)
    if demand is not None:
        return Placement(node=None, message=f"{demand} is not supported by this scheduler; remove it, or prefer it")
    if not rooms:
        return Placement(node=None, message="no nodes available to schedule pods")
    requests = pod_requests(pod)
    reasons: Counter[str] = Counter()
    fitting: list[NodeRoom] = []
    for room in rooms:
        refusals = _refusals(pod, requests, room)
        if refusals:
            reasons.update(refusals)
        else:
            fitting.append(room)
    if fitting:
        best = max(fitting, key=lambda room: (_freedom(requests, room), -room.pods, name_of(room.node)))
        return Placement(node=name_of(best.node))
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return Placement(node=None, message=f"0/{len(rooms)} nodes are available: {listed}.")


def _refusals(pod: KubeObject, requests: Amounts, room: NodeRoom) -> list[str]:
    """Return the reasons against this node; empty if the pod fits."""
    node = room.node
    if node["spec"].get("unschedulable") and not _tolerates_cordon(pod):
        return ["node(s) were unschedulable"]
    taint = untolerated_taint(pod, node, effects=("NoSchedule", "NoExecute"))
    if taint is not None:
        return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"]
    if not _affinity_allows(pod, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if host_ports(pod) & room.host_ports:
        return ["node(s) didn't have free ports for the requested pod ports"]
    return _shortages(requests, room)


def _shortages(requests: Amounts, room: NodeRoom) -> list[str]:
    short = ["Too many pods"] if room.pods + 1 > room.allocatable.get("pods", ZERO) else []
    for name, amount in requests.items():
        if amount > 0 and amount > room.allocatable.get(name, ZERO) - room.taken.get(name, ZERO):
            short.append(f"Insufficient {name}")
    return short


def _affinity_allows(pod: KubeObject, node: KubeObject) -> bool:
    labels = labels_of(node)
    wanted: Mapping[str, str] = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or node_selector_matches(required.get("nodeSelectorTerms") or (), labels, name_of(node))


def _tolerates_cordon(pod: KubeObject) -> bool:
    cordon = {"spec": {"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}}
    return untolerated_taint(pod, cordon, effects=("NoSchedule",)) is None


def host_ports(pod: Mapping[str, Any]) -> set[tuple[int, str]]:
    """Return the host ports of a pod, each with its protocol."""
    containers: Sequence[Mapping[str, Any]] = pod["spec"].get("containers") or ()
    ports = [port for container in containers for port in container.get("ports") or ()]
    return {(int(port["hostPort"]), port.get("protocol") or "TCP") for port in ports if port.get("hostPort")}


def _freedom(requests: Amounts, room: NodeRoom) -> Decimal:
    """Return the share of cpu and memory that would stay free, as a mean of both."""
    shares = []
    for name in ("cpu", "memory"):
        offered = room.allocatable.get(name, ZERO)
        used = room.taken.get(name, ZERO) + requests.get(name, ZERO)
        shares.append((offered - used) / offered if offered > 0 else ZERO)
    return sum(shares, ZERO) / len(shares)
