"""Devices of Dynamic Resource Allocation that have an extended resource's name.

Since Kubernetes 1.34 a DeviceClass may stand for an extended resource: pods request it as before, and the node has no
allocatable for it. So a node's devices are counted from its ResourceSlices: those of the class's driver, less those
that other claims hold. The scheduler's own claims for extended resources are not subtracted, because the pods' requests
count them. Selectors of a class beyond the driver, devices that share counters, and device taints are not evaluated:
what they exclude shows in the scheduler's refusals. Source: KEP-5004. Pure; `inventory` asks.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
IMPLICIT = "deviceclass.resource.kubernetes.io/"  # prefix of the extended resource that each DeviceClass has
OF_EXTENDED = "resource.kubernetes.io/extended-resource-claim"  # annotation of the scheduler's own claims
_DRIVER = re.compile(r"""device\.driver\s*==\s*(['"])([^'"]+)\1""")

Device = tuple[str, str, str]  # driver, pool and name: unique in the cluster


@dataclass(frozen=True, kw_only=True, slots=True)
class _Slice:
    """A part of a pool of devices."""

    node: str  # empty = devices that more than one node may use
    driver: str
    pool: str
    generation: int  # of the pool: slices of older generations are outdated
    devices: frozenset[str]


class Devices:
    """ResourceSlices, DeviceClasses and allocated claims, as last seen."""

    def __init__(self) -> None:
        self._slices: dict[str, _Slice] = {}
        self._classes: dict[str, tuple[frozenset[str], str]] = {}  # class -> resource names, driver; empty = any driver
        self._held: dict[str, frozenset[Device]] = {}  # claim uid -> devices of claims that pods state themselves
        self._free: dict[str, dict[str, int]] | None = None  # node -> driver -> devices; None = count again

    def see_slice(self, found: Json, *, gone: bool) -> bool:
        """Record a ResourceSlice; return whether anything has changed."""
        return self._keep(self._slices, found["metadata"]["name"], None if gone else _slice(found))

    def see_class(self, found: Json, *, gone: bool) -> bool:
        """Record a DeviceClass; return whether anything has changed."""
        return self._keep(self._classes, found["metadata"]["name"], None if gone else _class(found))

    def see_claim(self, found: Json, *, gone: bool) -> bool:
        """Record a ResourceClaim; return whether anything has changed."""
        return self._keep(self._held, found["metadata"]["uid"], None if gone else _allocated(found) or None)

    def names(self, kind: str) -> set[str]:
        """Return the keys of what is known of a kind: `slices`, `classes` or `claims`."""
        known: dict[str, dict[str, Any]] = {"slices": self._slices, "classes": self._classes, "claims": self._held}
        return set(known[kind])

    def nodes(self) -> set[str]:
        """Return the nodes with devices."""
        return {each.node for each in self._slices.values() if each.node}

    def offered(self, node: str) -> dict[str, int]:
        """Return the devices of a node by extended resource."""
        if self._free is None:
            self._free = self._count()
        by_driver = self._free.get(node, {})
        found: dict[str, int] = {}
        for names, driver in self._classes.values() if by_driver else ():
            amount = by_driver.get(driver, 0) if driver else sum(by_driver.values())
            found.update(dict.fromkeys(names, amount) if amount else {})
        return found

    def _count(self) -> dict[str, dict[str, int]]:
        """Count the devices of each node by driver, without those that claims hold."""
        held: set[Device] = set().union(*self._held.values())
        newest: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        for each in self._slices.values():
            place = (each.node, each.driver, each.pool)
            newest[place] = max(newest[place], each.generation)
        counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for each in self._slices.values():
            if each.node and each.generation == newest[each.node, each.driver, each.pool]:
                free = {(each.driver, each.pool, name) for name in each.devices} - held
                counts[each.node][each.driver] = counts[each.node].get(each.driver, 0) + len(free)
        return counts

    def _keep(self, known: dict[str, Any], name: str, value: Any) -> bool:
        if known.get(name) == value:
            return False
        if value is None:
            del known[name]
        else:
            known[name] = value
        self._free = None
        return True


def _slice(found: Json) -> _Slice:
    spec = found["spec"]
    pool = spec.get("pool") or {}
    return _Slice(
        node=spec.get("nodeName") or "",
        driver=spec.get("driver", ""),
        pool=pool.get("name", ""),
        generation=int(pool.get("generation", 0)),
        devices=frozenset(device["name"] for device in spec.get("devices") or []),
    )


def _class(found: Json) -> tuple[frozenset[str], str]:
    spec = found.get("spec") or {}
    names = {IMPLICIT + found["metadata"]["name"], spec.get("extendedResourceName") or ""} - {""}
    expressions = [(selector.get("cel") or {}).get("expression", "") for selector in spec.get("selectors") or []]
    driver = next((match[2] for text in expressions if (match := _DRIVER.search(text))), "")
    return frozenset(names), driver


def _allocated(found: Json) -> frozenset[Device]:
    if (found["metadata"].get("annotations") or {}).get(OF_EXTENDED) == "true":
        return frozenset()
    allocation = (found.get("status") or {}).get("allocation") or {}
    results = (allocation.get("devices") or {}).get("results") or []
    return frozenset((r.get("driver", ""), r.get("pool", ""), r.get("device", "")) for r in results)
