"""Nodes, and whether a worker's pod may run on a node: resources, selectors, affinity, taints, exclusive places.

These are the scheduler's filters that a pod alone determines: requests against free resources, `nodeSelector`,
`nodeName`, required node affinity, taints against tolerations, host ports, and anti-affinity to the own pool on a node.
Filters that depend on other pods are learned from the scheduler (`capacity.refusals`).
`agentpool_operator.capacity.inventory` fills the nodes in, `sharing` places workers on them. Quantities are whole:
millicores, bytes, pods, devices. A name with the prefix `EXCLUSIVE` is a place that each node has once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agentpool_operator.scaling.devices import NodeDevices, Request
from agentpool_operator.scaling.taints import Taint, Toleration

Resources = Mapping[str, int]  # resource name -> millicores (cpu), bytes (memory, storage), pods, or devices
PASSING_TAINTS = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
)  # prefixes: go by themselves
STARTUP_TAINTS = ("not-ready", "uninitialized", "startup")  # endings of taints that a component removes on a new node
EXCLUSIVE = "exclusive:"  # a host port, for example


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """An expression over a node's labels or, if `on_field` is set, its name."""

    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist, Gt, Lt
    values: tuple[str, ...] = ()
    on_field: bool = False  # metadata.name instead of a label

    def holds(self, node: Node) -> bool:
        """Return whether the node satisfies the expression. An unknown operator holds nowhere."""
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
    """Node requirements of a worker's pod."""

    requests: Resources  # `pods` included
    node_selector: Mapping[str, str] = field(default_factory=dict)
    affinity: tuple[tuple[Requirement, ...], ...] = ()  # alternatives; each term must hold whole; empty = no affinity
    tolerations: tuple[Toleration, ...] = ()
    node_name: str = ""  # set by the template, past the scheduler; empty = the scheduler chooses
    claim_templates: tuple[str, ...] = ()  # names of the ResourceClaimTemplates that the pod's claims are made from
    devices: tuple[Request, ...] = ()  # of these claims, once they are resolved
    missing: str = ""  # why these claims cannot be made, as a clause; empty = they can

    def allowed_on(self, node: Node) -> bool:
        """Return whether the scheduler would admit a new pod of this shape to the node, regardless of room."""
        return node.schedulable and self._suits(node, node.taints)

    def meant_for(self, node: Node) -> bool:
        """Return whether a pod of this shape may run on the healthy node, regardless of room."""
        return self._suits(node, [taint for taint in node.taints if not _passes(taint)])

    def excluding_taints(self, node: Node) -> list[Taint]:
        """Return the lasting taints without which the node would be permitted; empty = no or other obstacles."""
        if not self._suits(node, ()):
            return []
        return [t for t in node.taints if not _passes(t) and not self._suits(node, [t])]

    def _suits(self, node: Node, taints: Iterable[Taint]) -> bool:
        if self.node_name and node.name != self.node_name:
            return False
        if any(node.labels.get(key) != value for key, value in self.node_selector.items()):
            return False
        if self.affinity and not any(term and all(r.holds(node) for r in term) for term in self.affinity):
            return False
        return not any(taint.blocks(self.tolerations) for taint in taints)


def _passes(taint: Taint) -> bool:
    """Return whether the taint goes by itself, so that a new node would have it, too."""
    return taint.key.startswith(PASSING_TAINTS) or taint.key.endswith(STARTUP_TAINTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node as a place for workers."""

    name: str
    schedulable: bool = True  # ready, and not cordoned
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    free: Resources = field(default_factory=dict)  # allocatable minus requests of pods on the node
    allocatable: Resources = field(default_factory=dict)  # resources for pods on the empty node
    devices: NodeDevices = field(default_factory=NodeDevices)  # of Dynamic Resource Allocation

    def requests_of(self, shape: Shape) -> tuple[Request, ...]:
        """Return the devices of this node that a pod of the shape requests, by claim or by extended resource."""
        return (*shape.devices, *self.devices.requests(shape.requests))

    def countable(self, requests: Resources) -> Resources:
        """Return the requests without those that devices of this node serve."""
        return {name: amount for name, amount in requests.items() if name not in self.devices.resources}

    def most(self, name: str) -> int:
        """Return the amount of a resource on the empty node."""
        return self.devices.most(name) or offered(self.allocatable, name)

    def could_hold(self, shape: Shape) -> bool:
        """Return whether the empty node would have room for a pod of the shape."""
        wanted = self.requests_of(shape)
        if not fits(self.allocatable, self.countable(shape.requests)):
            return False
        return not wanted or self.devices.stock(empty=True).take(wanted)


def fits(free: Resources, requests: Resources) -> int:
    """Return how many times the requests fit into the free resources; 0 if a resource is not offered at all."""
    counts = [max(0, offered(free, name)) // amount for name, amount in requests.items() if amount > 0]
    return min(counts, default=0)


def offered(resources: Resources, name: str) -> int:
    """Return the amount of a resource; an exclusive place is there once, unless a pod has it."""
    return resources.get(name, 1 if name.startswith(EXCLUSIVE) else 0)


def misfit(nodes: Sequence[Node], shape: Shape) -> str:
    """Return why no node could hold a worker, even if empty and healthy, as a clause; empty = a node could."""
    if shape.missing:
        return shape.missing
    if any(shape.meant_for(node) and node.could_hold(shape) for node in nodes):
        return ""
    meant = [node for node in nodes if shape.meant_for(node)]
    if not meant:
        return _exclusion(nodes, shape)
    for name, amount in sorted(shape.requests.items(), key=lambda request: "/" not in request[0]):  # devices first
        most = max(node.most(name) for node in meant)
        if most < amount:
            return _shortage(name, amount, most)
    if shape.devices:
        wanted = ", ".join(request.label for request in shape.devices)
        return f"no permitted node has the devices that a worker claims ({wanted})"
    return f"no permitted node has enough of {', '.join(sorted(shape.requests))} at once"


def _exclusion(nodes: Sequence[Node], shape: Shape) -> str:
    """Return why no node is permitted; a taint is named where it alone excludes a node."""
    for node in nodes:
        if taints := shape.excluding_taints(node):
            marks = ", ".join(f"{taint.key}:{taint.effect}" for taint in taints)
            return f"a worker does not tolerate the taint {marks} of node {node.name}, and no other node is permitted"
    return "a worker's nodeSelector, affinity and tolerations exclude all nodes"


def _shortage(name: str, amount: int, most: int) -> str:
    if "/" not in name:  # counted in millicores or bytes, too detailed for a message
        return f"a worker asks for more {name} than any permitted node has"
    return f"a worker asks for {amount} {name}; the largest permitted node has {most}"
