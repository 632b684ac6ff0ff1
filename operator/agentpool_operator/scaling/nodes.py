"""Nodes, and whether a worker's pod may run on one: resources, selectors, affinity, taints.

These are the scheduler's filters as far as a pod template can state them by itself: requests against what is
free, `nodeSelector`, required node affinity, taints against tolerations. `agentpool_operator.inventory`
fills the nodes in, `capacity` places workers on them. Quantities are whole: millicores, bytes, pods,
devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Resources = Mapping[str, int]  # resource name -> millicores (cpu), bytes (memory, storage), pods, or devices
BLOCKING_EFFECTS = frozenset({"NoSchedule", "NoExecute"})
PASSING_TAINTS = "node.kubernetes.io/"  # keys of taints that go by themselves: cordoned, not ready, under pressure


@dataclass(frozen=True, kw_only=True, slots=True)
class Taint:
    """A node's mark that keeps pods away."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, kw_only=True, slots=True)
class Toleration:
    """A pod's leave to pass a taint."""

    key: str = ""  # empty with operator Exists: every taint
    operator: str = "Equal"
    value: str = ""
    effect: str = ""  # empty: every effect

    def covers(self, taint: Taint) -> bool:
        """Whether this toleration passes that taint."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return bool(self.key) and self.value == taint.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """One expression over a node's labels or, where `on_field` is set, its name."""

    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist, Gt, Lt
    values: tuple[str, ...] = ()
    on_field: bool = False  # metadata.name instead of a label

    def holds(self, node: Node) -> bool:
        """Whether the node satisfies the expression. An operator that is not known holds nowhere."""
        found = node.name if self.on_field else node.labels.get(self.key)
        match self.operator:
            case "In":
                return found is not None and found in self.values
            case "NotIn":
                return found is None or found not in self.values
            case "Exists":
                return found is not None
            case "DoesNotExist":
                return found is None
            case "Gt" | "Lt":
                return _compares(found, self.values, greater=self.operator == "Gt")
        return False


def _compares(found: str | None, values: tuple[str, ...], *, greater: bool) -> bool:
    try:
        left, right = int(found or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if greater else left < right


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What one worker's pod needs of a node."""

    requests: Resources  # `pods` included
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity: tuple[tuple[Requirement, ...], ...] = ()  # one term must hold whole; empty = no affinity
    tolerations: tuple[Toleration, ...] = ()

    def allowed_on(self, node: Node) -> bool:
        """Whether the scheduler would let a new pod of this shape run on the node, room aside."""
        return node.schedulable and self._suits(node, node.taints)

    def meant_for(self, node: Node) -> bool:
        """Whether a pod of this shape may run on the node once it is in order, room aside."""
        return self._suits(node, [taint for taint in node.taints if not taint.key.startswith(PASSING_TAINTS)])

    def _suits(self, node: Node, taints: Iterable[Taint]) -> bool:
        if any(node.labels.get(key) != value for key, value in self.node_selector.items()):
            return False
        if self.affinity and not any(all(r.holds(node) for r in term) for term in self.affinity):
            return False
        return all(
            taint.effect not in BLOCKING_EFFECTS or any(t.covers(taint) for t in self.tolerations) for taint in taints
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One node as a place for workers."""

    name: str
    schedulable: bool = True  # ready, and not cordoned
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    free: Resources = field(default_factory=dict)  # allocatable minus what pods on the node request
    allocatable: Resources = field(default_factory=dict)  # what it has for pods, were it empty


def fits(free: Resources, requests: Resources) -> int:
    """How many times the requests fit into what is free; 0 where a resource is not offered at all."""
    counts = [max(0, free.get(name, 0)) // amount for name, amount in requests.items() if amount > 0]
    return min(counts, default=0)


def misfit(nodes: Sequence[Node], shape: Shape) -> str:
    """Why no node could hold one worker, were it empty and in order, as a clause; empty = one could."""
    if any(shape.meant_for(node) and fits(node.allocatable, shape.requests) for node in nodes):
        return ""
    meant = [node for node in nodes if shape.meant_for(node)]
    if not meant:
        return "a worker's nodeSelector, affinity and tolerations let it run on none of the nodes"
    for name, amount in sorted(shape.requests.items(), key=lambda request: "/" not in request[0]):  # devices first
        most = max(node.allocatable.get(name, 0) for node in meant)
        if most < amount:
            return _shortage(name, amount, most)
    return f"no node that a worker may run on has enough of {', '.join(sorted(shape.requests))} at once"


def _shortage(name: str, amount: int, most: int) -> str:
    if "/" not in name:  # counted in millicores or bytes, which nobody wants to read
        return f"a worker asks for more {name} than any node that it may run on has"
    return f"a worker asks for {amount} {name}; the largest node that it may run on has {most}"
