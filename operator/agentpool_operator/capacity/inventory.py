"""Capacity of the cluster: nodes, and the requests of the pods on them.

Watched only once a pool requests devices. The API server filters out pods that hold nothing (pods without a node, pods
that ended), and of each pod only node, owner and requests are kept. Terminating pods still hold their resources.
`scaling.sharing` shares the free resources; `capacity_watch` runs the watches.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.kube.quantities import amount_of
from agentpool_operator.capacity.dra import Devices, key_of
from agentpool_operator.pools.registry import each
from agentpool_operator.pools.resolve import places_of, requests_of, taints_of
from agentpool_operator.pools.views import pool_of
from agentpool_operator.scaling.nodes import EXCLUSIVE, Node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool_core.jobs import PoolRef
    from agentpool_operator.scaling.devices import DeviceId, NodeDevices
    from agentpool_operator.scaling.nodes import Shape

Json = dict[str, Any]
HOLDING_PODS = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """Resources that a pod holds on a node."""

    node: str
    name: str
    uid: str
    pool: PoolRef | None  # None = not a worker of a pool
    terminating: bool
    requests: tuple[tuple[str, int], ...]


class Inventory:
    """Nodes and holdings, kept up to date by two watches."""

    def __init__(self) -> None:
        self._nodes: dict[str, Json] = {}
        self._holdings: dict[str, Holding] = {}  # by pod uid
        self._workers: defaultdict[PoolRef, dict[str, Holding]] = defaultdict(dict)  # those of pools, by pod uid
        self._made: dict[str, Node] = {}  # nodes as last returned, until a change on them
        self._used: dict[str, dict[str, int]] = {}  # by node
        self._same: dict[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]] = {}  # equal vectors, kept once
        self._devices = Devices()
        self.version = 0  # grows with every change that may matter
        self.nodes_version = 0  # grows with every change of a node itself

    def see_node(self, node: Json, *, gone: bool = False) -> None:
        """Record a node as seen, or as gone. Heartbeats change nothing."""
        name = node["metadata"]["name"]
        kept = None if gone else _kept(node)
        if self._nodes.get(name) == kept:
            return
        if kept is None:
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = kept
        self.nodes_version += 1
        self._note_change(name)

    def see_pod(self, pod: Json, *, gone: bool = False) -> None:
        """Record a pod on a node as seen, or as holding nothing any more."""
        uid = pod["metadata"]["uid"]
        before = self._holdings.get(uid)
        after = None if gone else self._holding(pod)
        if before == after:
            return
        if before is not None:
            self._drop(uid, before)
        if after is not None:
            self._add(uid, after)

    def replace_nodes(self, nodes: Iterable[Json]) -> None:
        """Apply a full list: missing nodes are removed."""
        listed = {node["metadata"]["name"]: node for node in nodes}
        for name in self._nodes.keys() - listed.keys():
            self.see_node({"metadata": {"name": name}}, gone=True)
        for node in listed.values():
            each(self.see_node, node)

    def replace_pods(self, pods: Iterable[Json]) -> None:
        """Apply a full list: missing pods are removed."""
        listed = {pod["metadata"]["uid"]: pod for pod in pods}
        for uid in self._holdings.keys() - listed.keys():
            self.see_pod({"metadata": {"uid": uid}}, gone=True)
        for pod in listed.values():
            each(self.see_pod, pod)

    def see_device(self, kind: str, found: Json, *, gone: bool = False) -> None:
        """Record an object of Dynamic Resource Allocation, or its removal; the kinds are those of `dra`."""
        before = self._devices.nodes()
        if self._devices.see(kind, found, gone=gone):
            self._note_devices(before)

    def replace_devices(self, kind: str, found: Iterable[Json]) -> None:
        """Apply a full list of a kind of Dynamic Resource Allocation."""
        listed = {key_of(kind, item): item for item in found}
        before = self._devices.nodes()
        news = [self._devices.drop_all_but(kind, listed.keys())]

        def see(item: Json, *, gone: bool) -> None:
            news.append(self._devices.see(kind, item, gone=gone))

        for item in listed.values():
            each(see, item)
        if self._devices.note_listed(kind) or any(news):
            self._note_devices(before)

    def note_unreadable(self, kind: str) -> None:
        """Record that a kind of Dynamic Resource Allocation cannot be listed: claims are left to the scheduler."""
        if self._devices.note_unreadable(kind):
            self._note_devices(self._devices.nodes())

    def _note_devices(self, before: set[str]) -> None:
        for node in before | self._devices.nodes():
            self._made.pop(node, None)
        self.version += 1

    def resolved(self, namespace: str, shape: Shape) -> Shape:
        """Return the shape of a worker in a namespace, with the devices that its claims request."""
        return self._devices.resolved(namespace, shape)

    def nodes(self) -> list[Node]:
        """Return all nodes with their free resources."""
        for name in self._nodes.keys() - self._made.keys():
            self._made[name] = _node(name, self._nodes[name], self._used.get(name, {}), self._devices.of_node(name))
        return list(self._made.values())

    def holdings_of(self, pool: PoolRef) -> list[Holding]:
        """Return the resources held by the pods of a pool."""
        return list(self._workers[pool].values()) if pool in self._workers else []

    def devices_of(self, holding: Holding) -> frozenset[DeviceId]:
        """Return the devices that claims have allocated for a pod."""
        return self._devices.of_pod(holding.uid)

    def _holding(self, pod: Json) -> Holding | None:
        node = (pod.get("spec") or {}).get("nodeName")
        if not node or (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
            return None
        metadata = pod["metadata"]
        requests = tuple(sorted({**requests_of(pod["spec"]), **places_of(pod)}.items()))
        return Holding(
            node=node,
            name=metadata["name"],
            uid=metadata["uid"],
            pool=pool_of(pod),
            terminating=bool(metadata.get("deletionTimestamp")),
            requests=self._same.setdefault(requests, requests),
        )

    def _add(self, uid: str, holding: Holding) -> None:
        self._holdings[uid] = holding
        if holding.pool is not None:
            self._workers[holding.pool][uid] = holding
        self._account(holding, +1)

    def _drop(self, uid: str, holding: Holding) -> None:
        del self._holdings[uid]
        if holding.pool is not None:
            del self._workers[holding.pool][uid]
            if not self._workers[holding.pool]:
                del self._workers[holding.pool]
        self._account(holding, -1)

    def _account(self, holding: Holding, sign: int) -> None:
        used = self._used.setdefault(holding.node, {})
        for name, amount in holding.requests:
            used[name] = used.get(name, 0) + sign * amount
        self._note_change(holding.node)

    def _note_change(self, node: str) -> None:
        self._made.pop(node, None)
        self.version += 1


def _kept(node: Json) -> Json:
    """Return the fields of a node that placement needs."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
    allocatable = status.get("allocatable") or {}
    return {
        "labels": node["metadata"].get("labels") or {},
        "taints": taints_of(spec),
        "schedulable": ready and not spec.get("unschedulable"),
        "allocatable": {name: amount_of(name, str(quantity)) for name, quantity in allocatable.items()},
    }


def _node(name: str, kept: Json, used: dict[str, int], devices: NodeDevices) -> Node:
    offered = kept["allocatable"]
    by_plugin = {resource for resource, amount in offered.items() if amount}  # a plugin's word counts
    devices = devices.without(by_plugin)
    beyond = {r: int(r.startswith(EXCLUSIVE)) - amount for r, amount in used.items() if amount and r not in offered}
    return Node(
        name=name,
        schedulable=kept["schedulable"],
        labels=kept["labels"],
        taints=kept["taints"],
        allocatable=offered,
        free={**{r: amount - used.get(r, 0) for r, amount in offered.items()}, **beyond},
        devices=devices,
    )
