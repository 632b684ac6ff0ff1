"""Devices of Dynamic Resource Allocation on a node, and the requests that the free devices still satisfy.

A request takes the first free devices that its selectors permit, as the scheduler's allocator does; of several
requests the one with the fewest devices to choose from goes first. Partitionable devices draw on counters that devices
of a pool share (KEP-4815): a device is free while enough of each of its counters is left. `capacity.dra` reads the
devices from the API, `nodes` and `room` place workers on them. Pure.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from agentpool_operator.scaling.selectors import selects
from agentpool_operator.scaling.taints import Taint, Toleration

DeviceId = tuple[str, str, str]  # driver, pool and name: unique in the cluster
Counter = tuple[str, str, str, str]  # driver, pool, set and name
ALL = 0  # devices of a choice that takes every device that its selectors permit


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Device:
    """A device, or a part of one, as its driver publishes it."""

    id: DeviceId
    described: Mapping[str, Any]  # as selectors see the device
    consumes: Mapping[Counter, int] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Devices that satisfy a request."""

    selectors: tuple[str, ...]  # CEL: those of the class and those of the request
    count: int = 1  # ALL = every permitted device
    tolerations: tuple[Toleration, ...] = ()

    def permits(self, device: Device) -> bool:
        """Return whether the device satisfies the selectors, and whether its taints are tolerated."""
        if any(taint.blocks(self.tolerations) for taint in device.taints):
            return False
        return all(_selects(text, device) for text in self.selectors)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Devices that a worker requests together."""

    label: str  # for messages
    choices: tuple[Choice, ...]  # in the order of preference


@lru_cache(maxsize=65536)
def _selects(text: str, device: Device) -> bool:
    return selects(text, device.described)


class Stock:
    """The free devices of a node, while they are given out."""

    def __init__(
        self,
        devices: Mapping[DeviceId, Device],
        left: Mapping[Counter, int],
        *,
        taken: Iterable[DeviceId] = (),
        permitted: dict[Choice, list[DeviceId]] | None = None,
    ) -> None:
        self._devices = devices
        self._left = dict(left)  # amounts of the counters that no taken device consumes
        self._taken = set(taken)
        self._permitted = {} if permitted is None else permitted  # by choice, as far as asked for

    def copy(self) -> Stock:
        """Return a stock of its own with the same free devices."""
        return Stock(self._devices, self._left, taken=self._taken, permitted=self._permitted)

    def occupy(self, ids: Iterable[DeviceId]) -> None:
        """Count these devices as taken; devices of other nodes change nothing."""
        for device in self._known(ids) - self._taken:
            self._taken.add(device)
            self._count(device, -1)

    def release(self, ids: Iterable[DeviceId]) -> None:
        """Count these devices as free."""
        for device in self._known(ids) & self._taken:
            self._taken.remove(device)
            self._count(device, +1)

    def has(self, ids: Iterable[DeviceId]) -> bool:
        """Return whether no other claim has taken these devices; an unpublished device is not taken."""
        probe = self.copy()
        return all(probe.take_device(device) for device in self._known(ids))

    def take(self, requests: Sequence[Request]) -> bool:
        """Take the devices of all requests, or none; return whether there were enough."""
        before = set(self._taken)
        for request in sorted(requests, key=self._choices_of):
            if not any(self._take_choice(choice) for choice in request.choices):
                self.release(self._taken - before)
                return False
        return True

    def take_device(self, device: DeviceId) -> bool:
        """Take a device if it is free; return whether it was."""
        consumed = self._devices[device].consumes
        if device in self._taken or any(self._left.get(name, 0) < amount for name, amount in consumed.items()):
            return False
        self._taken.add(device)
        self._count(device, -1)
        return True

    def times(self, requests: Sequence[Request], *, most: int) -> int:
        """Return how many times the requests can be taken, at most `most` times."""
        probe, found = self.copy(), 0
        while found < most and probe.take(requests):
            found += 1
        return found

    def _known(self, ids: Iterable[DeviceId]) -> set[DeviceId]:
        return self._devices.keys() & ids

    def _choices_of(self, request: Request) -> int:
        return sum(len(self._permitted_by(choice)) for choice in request.choices)

    def _permitted_by(self, choice: Choice) -> list[DeviceId]:
        found = self._permitted.get(choice)
        if found is None:
            found = [device.id for device in self._devices.values() if choice.permits(device)]
            self._permitted[choice] = found
        return found

    def _take_choice(self, choice: Choice) -> bool:
        permitted = self._permitted_by(choice)
        wanted = len(permitted) if choice.count == ALL else choice.count
        taken: list[DeviceId] = []
        for device in permitted:
            if len(taken) == wanted:
                break
            if self.take_device(device):
                taken.append(device)
        if taken and len(taken) == wanted:
            return True
        self.release(taken)
        return False

    def _count(self, device: DeviceId, sign: int) -> None:
        for name, amount in self._devices[device].consumes.items():
            self._left[name] = self._left.get(name, 0) + sign * amount


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeDevices:
    """The devices of a node."""

    devices: tuple[Device, ...] = ()
    counters: Mapping[Counter, int] = field(default_factory=dict)  # amounts with no device taken
    taken: frozenset[DeviceId] = frozenset()  # allocated by claims
    resources: Mapping[str, Choice] = field(default_factory=dict)  # extended resources of one device

    def stock(self, *, empty: bool = False) -> Stock:
        """Return the free devices; `empty`: those of the node without any claim."""
        found = Stock({device.id: device for device in self.devices}, self.counters)
        found.occupy(() if empty else self.taken)
        return found

    def requests(self, resources: Mapping[str, int]) -> tuple[Request, ...]:
        """Return the requests for devices among these amounts of resources."""
        return tuple(
            Request(label=name, choices=(Choice(selectors=self.resources[name].selectors, count=amount),))
            for name, amount in resources.items()
            if amount and name in self.resources
        )

    def without(self, resources: Container[str]) -> NodeDevices:
        """Return these devices without these extended resources, for which the node speaks itself."""
        return replace(self, resources={name: c for name, c in self.resources.items() if name not in resources})

    def most(self, resource: str) -> int:
        """Return the devices of the empty node that serve an extended resource; 0 for any other resource."""
        choice = self.resources.get(resource)
        if choice is None:
            return 0
        request = Request(label=resource, choices=(choice,))
        return self.stock(empty=True).times([request], most=len(self.devices))
