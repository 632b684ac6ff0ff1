"""Free room on the nodes during a placement.

The number of times that a shape fits is counted once for each node, then kept: a placed worker changes the counts of
that node only. So a placement is cheap for any number of nodes. `sharing` decides the order.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_operator.scaling.nodes import fits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool_operator.scaling.nodes import Node, Shape


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
        self._counts: list[_Counts] = []  # many pools, few shapes

    def release(self, place: str, shape: Shape, workers: int) -> None:
        """Count existing workers as room. Call this before any room is asked for or taken."""
        if place in self._free:
            self._take(place, shape, -workers)

    def fullest(self, shape: Shape) -> str | None:
        """Return the node with the least room among those with any; None = the shape fits nowhere."""
        counts = self._counts_of(shape)
        while counts.fullest:
            count, place = counts.fullest[0]
            if count and counts.by_node[place] == count:
                return place
            heapq.heappop(counts.fullest)
        return None

    def fits_on(self, place: str, shape: Shape) -> bool:
        """Return whether there is room for a further worker, regardless of admission: the worker exists already."""
        return fits(self._free.get(place, {}), shape.requests) > 0

    def total(self, shape: Shape) -> int:
        """Return how many further workers would fit on all nodes."""
        return self._counts_of(shape).total

    def take(self, place: str, shape: Shape) -> None:
        """Place a worker."""
        self._take(place, shape, 1)
        for counts in self._counts:
            if place not in counts.by_node:
                continue
            left = fits(self._free[place], counts.shape.requests)
            counts.total += left - counts.by_node[place]
            counts.by_node[place] = left
            heapq.heappush(counts.fullest, (left, place))

    def _take(self, place: str, shape: Shape, workers: int) -> None:
        free = self._free[place]
        for name, amount in shape.requests.items():
            free[name] = free.get(name, 0) - amount * workers

    def _counts_of(self, shape: Shape) -> _Counts:
        found = next((counts for counts in self._counts if counts.shape == shape), None)
        if found is None:
            by_node = {
                name: fits(self._free[name], shape.requests)
                for name, node in self._nodes.items()
                if shape.allowed_on(node)
            }
            heap = [(count, name) for name, count in by_node.items()]
            heapq.heapify(heap)
            found = _Counts(shape=shape, by_node=by_node, total=sum(by_node.values()), fullest=heap)
            self._counts.append(found)
        return found
