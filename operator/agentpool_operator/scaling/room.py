"""Free room on the nodes during a placement.

The number of times that a shape fits is counted once for each node, then kept: a placed worker changes the counts of
that node only. So a placement is cheap for any number of nodes. `sharing` decides the order.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_operator.scaling.devices import Stock
from agentpool_operator.scaling.nodes import fits, offered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool_operator.scaling.devices import DeviceId
    from agentpool_operator.scaling.nodes import Node, Resources, Shape

    Devices = frozenset[DeviceId]


@dataclass(slots=True)
class _Counts:
    """Nodes on which a shape fits."""

    shape: Shape
    by_node: dict[str, int]  # workers that still fit, on the nodes that the shape may run on
    total: int  # over all of them
    fullest: list[tuple[int, str]]  # a heap of counts and nodes; an entry with a stale count is outdated


class Room:
    """The nodes' free resources, while they are given out."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._free = {name: dict(node.free) for name, node in self._nodes.items()}
        self._stocks = {name: node.devices.stock() for name, node in self._nodes.items() if node.devices.devices}
        self._no_devices = Stock({}, {})
        self._overdrawn = {name: _overdraft(node.free) for name, node in self._nodes.items()}
        self._counts: list[_Counts] = []  # many pools, few shapes

    def has(self, place: str) -> bool:
        """Return whether the node is known."""
        return place in self._nodes

    def release(self, place: str, requests: Resources, devices: Devices = frozenset()) -> None:
        """Count an existing worker as room. Call this before any room is asked for or taken."""
        self._take(place, requests, -1)
        self._stock(place).release(devices)

    def fullest(self, shape: Shape) -> str | None:
        """Return the node with the least room among those with any; None = the shape fits nowhere."""
        counts = self._counts_of(shape)
        while counts.fullest:
            count, place = counts.fullest[0]
            if count and counts.by_node[place] == count:
                return place
            heapq.heappop(counts.fullest)
        return None

    def may_stay(self, place: str, requests: Resources, devices: Devices = frozenset()) -> bool:
        """Return whether an existing worker keeps its place: only a new worker takes it, never a lower reading."""
        free, overdrawn = self._free[place], self._overdrawn[place]
        wanted = self._nodes[place].countable(requests)
        if not all(offered(free, name) + overdrawn.get(name, 0) >= amount for name, amount in wanted.items()):
            return False
        return self._stock(place).has(devices)

    def keep(self, place: str, requests: Resources, devices: Devices = frozenset()) -> None:
        """Leave an existing worker in its place."""
        self._take(place, requests, 1)
        self._stock(place).occupy(devices)
        self._count_again(place)

    def total(self, shape: Shape) -> int:
        """Return how many further workers would fit on all nodes."""
        return self._counts_of(shape).total

    def take(self, place: str, shape: Shape) -> None:
        """Place a worker."""
        self._stock(place).take(self._nodes[place].requests_of(shape))
        self.keep(place, shape.requests)

    def _count_again(self, place: str) -> None:
        for counts in self._counts:
            if place not in counts.by_node:
                continue
            left = self._fits(place, counts.shape)
            counts.total += left - counts.by_node[place]
            counts.by_node[place] = left
            heapq.heappush(counts.fullest, (left, place))

    def _fits(self, place: str, shape: Shape) -> int:
        """Return how many further workers would fit on a node."""
        node = self._nodes[place]
        count = 0 if shape.missing else fits(self._free[place], node.countable(shape.requests))
        wanted = node.requests_of(shape)
        if not wanted or not count:
            return count
        return self._stock(place).times(wanted, most=count)

    def _stock(self, place: str) -> Stock:
        return self._stocks.get(place, self._no_devices)

    def _take(self, place: str, requests: Resources, workers: int) -> None:
        free = self._free[place]
        for name, amount in self._nodes[place].countable(requests).items():
            free[name] = offered(free, name) - amount * workers

    def _counts_of(self, shape: Shape) -> _Counts:
        found = next((counts for counts in self._counts if counts.shape == shape), None)
        if found is None:
            by_node = {name: self._fits(name, shape) for name, node in self._nodes.items() if shape.allowed_on(node)}
            heap = [(count, name) for name, count in by_node.items()]
            heapq.heapify(heap)
            found = _Counts(shape=shape, by_node=by_node, total=sum(by_node.values()), fullest=heap)
            self._counts.append(found)
        return found


def _overdraft(free: Resources) -> dict[str, int]:
    """Return how much more the pods of a node hold than it offers: its device plugin has restarted, for example."""
    return {name: -amount for name, amount in free.items() if amount < 0}
