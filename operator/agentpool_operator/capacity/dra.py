"""Devices of Dynamic Resource Allocation: ResourceSlices, DeviceClasses, claims and their templates, as last seen.

Drivers publish devices in ResourceSlices, and the node has no allocatable for them. A pod requests them by a claim,
made from a ResourceClaimTemplate, or by an extended resource that a DeviceClass stands for (KEP-5004). Both lead to the
same requests for devices, which `scaling.devices` counts: those that the selectors of class and request permit, less
those that allocated claims hold. The scheduler's claims for extended resources hold their devices like any other claim.

Devices that several nodes may use are not counted. Pure; `inventory` asks.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from agentpool_core.kube.quantities import amount_of, value_of
from agentpool_operator.pools.resolve import taints_of, tolerations_of
from agentpool_operator.scaling.devices import ALL, Choice, Device, DeviceId, NodeDevices, Request
from agentpool_operator.scaling.selectors import version

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from agentpool_operator.scaling.devices import Counter
    from agentpool_operator.scaling.nodes import Shape

Json = dict[str, Any]
IMPLICIT = "deviceclass.resource.kubernetes.io/"  # prefix of the extended resource that each DeviceClass has
SLICES, CLASSES, CLAIMS, TEMPLATES = "slices", "classes", "claims", "templates"  # kinds of objects


@dataclass(frozen=True, kw_only=True, slots=True)
class _Slice:
    """A part of a pool of devices."""

    spec: Json
    place: tuple[str, str]  # driver and pool
    generation: int  # of the pool: slices of older generations are outdated
    devices: Mapping[str, tuple[Device, ...]] = field(compare=False)  # by node
    counters: Mapping[Counter, int] = field(compare=False)  # that devices of the pool share


@dataclass(frozen=True, kw_only=True, slots=True)
class _Class:
    """A DeviceClass."""

    selectors: tuple[str, ...]
    resources: frozenset[str]  # extended resources that it stands for


@dataclass(frozen=True, kw_only=True, slots=True)
class _Claim:
    """An allocated claim."""

    devices: frozenset[DeviceId]
    pods: frozenset[str]  # uids of the pods that use them


class Devices:
    """What is known of devices, and the requests of claims for them."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {kind: {} for kind in _READ}
        self._listed: set[str] = set()  # kinds with a complete list
        self._unreadable: set[str] = set()  # kinds that the cluster does not serve, or not to this operator
        self._nodes: dict[str, NodeDevices] | None = None  # None = count again
        self._by_pod: dict[str, frozenset[DeviceId]] = {}

    def see(self, kind: str, found: Json, *, gone: bool) -> bool:
        """Record an object of a kind as seen, or as gone; return whether anything has changed."""
        known, key = self._known[kind], key_of(kind, found)
        value = None if gone else _READ[kind](found)
        if known.get(key) == value:
            return False
        if value is None:
            del known[key]
        else:
            known[key] = value
        self._nodes = None
        return True

    def note_listed(self, kind: str) -> bool:
        """Record that a kind has been listed whole; return whether that is news."""
        news = kind not in self._listed
        self._listed.add(kind)
        self._unreadable.discard(kind)
        return news

    def note_unreadable(self, kind: str) -> bool:
        """Record that a kind cannot be listed; return whether that is news."""
        news = kind not in self._unreadable
        self._unreadable.add(kind)
        return news

    def drop_all_but(self, kind: str, keys: Container[str]) -> bool:
        """Forget the objects of a kind with other keys; return whether there were any."""
        known = self._known[kind]
        gone = [key for key in known if key not in keys]
        for key in gone:
            del known[key]
        self._nodes = None if gone else self._nodes
        return bool(gone)

    def nodes(self) -> set[str]:
        """Return the nodes with devices."""
        return {node for each in self._known[SLICES].values() for node in each.devices}

    def of_node(self, node: str) -> NodeDevices:
        """Return the devices of a node."""
        return self._counted().get(node, NodeDevices())

    def of_pod(self, uid: str) -> frozenset[DeviceId]:
        """Return the devices that claims have allocated for a pod."""
        self._counted()
        return self._by_pod.get(uid, frozenset())

    def resolved(self, namespace: str, shape: Shape) -> Shape:
        """Return the shape with the devices of its claims; without the right to list the templates, as it is."""
        if not shape.claim_templates:
            return shape
        if _READ.keys() - self._listed - self._unreadable:
            return replace(shape, missing="the devices of the cluster have not been listed yet")
        if not {CLASSES, TEMPLATES} <= self._listed:
            return shape
        requests: list[Json] = []
        for name in shape.claim_templates:
            template = self._known[TEMPLATES].get(f"{namespace}/{name}")
            if template is None:
                return replace(shape, missing=f"there is no ResourceClaimTemplate {name} in namespace {namespace}")
            requests += template
        for name in (_class_of(option) for stated in requests for option in _options(stated)):
            if name not in self._known[CLASSES]:
                return replace(shape, missing=f"there is no DeviceClass {name}, which a worker's claim names")
        return replace(shape, devices=tuple(map(self._request, requests)))

    def _request(self, stated: Json) -> Request:
        """Return a request of a claim."""
        options = _options(stated)
        return Request(label=" or ".join(map(_class_of, options)), choices=tuple(map(self._choice, options)))

    def _choice(self, option: Json) -> Choice:
        known: _Class = self._known[CLASSES][_class_of(option)]
        return Choice(
            selectors=(*known.selectors, *_expressions(option)),
            count=ALL if option.get("allocationMode") == "All" else int(option.get("count") or 1),
            tolerations=tolerations_of(option),
        )

    def _counted(self) -> dict[str, NodeDevices]:
        if self._nodes is None:
            self._nodes = self._count()
        return self._nodes

    def _count(self) -> dict[str, NodeDevices]:
        claims: Iterable[_Claim] = self._known[CLAIMS].values()
        taken = frozenset().union(*(claim.devices for claim in claims))
        by_pod: defaultdict[str, frozenset[DeviceId]] = defaultdict(frozenset)
        for claim in claims:
            for uid in claim.pods:
                by_pod[uid] |= claim.devices
        self._by_pod = dict(by_pod)
        devices: defaultdict[str, list[Device]] = defaultdict(list)
        counters: dict[Counter, int] = {}
        for part in self._newest_slices():
            counters |= part.counters
            for node, some in part.devices.items():
                devices[node] += some
        choices = self._resources()
        return {node: _node_devices(some, counters, taken, choices) for node, some in devices.items()}

    def _newest_slices(self) -> list[_Slice]:
        """Return the slices of the newest generation of each pool, in the order of their names."""
        slices: dict[str, _Slice] = self._known[SLICES]
        newest: defaultdict[tuple[str, str], int] = defaultdict(int)
        for part in slices.values():
            newest[part.place] = max(newest[part.place], part.generation)
        return [part for _, part in sorted(slices.items()) if part.generation == newest[part.place]]

    def _resources(self) -> dict[str, Choice]:
        """Return the devices for each extended resource, one at a time."""
        classes: Iterable[_Class] = self._known[CLASSES].values()
        return {name: Choice(selectors=each.selectors) for each in classes for name in each.resources}


def key_of(kind: str, found: Json) -> str:
    """Return the key of an object: namespace and name, the name alone, or the uid of a claim, which pods make again."""
    metadata = found["metadata"]
    if kind == CLAIMS:
        return str(metadata["uid"])
    return f"{metadata['namespace']}/{metadata['name']}" if kind == TEMPLATES else str(metadata["name"])


def _node_devices(
    devices: list[Device], counters: Mapping[Counter, int], taken: frozenset[DeviceId], choices: Mapping[str, Choice]
) -> NodeDevices:
    ids = {device.id for device in devices}
    shared = {name for device in devices for name in device.consumes}
    return NodeDevices(
        devices=tuple(devices),
        counters={name: counters.get(name, 0) for name in shared},
        taken=taken & ids,
        resources={name: choice for name, choice in choices.items() if any(map(choice.permits, devices))},
    )


def _read_slice(found: Json) -> _Slice:
    spec = found["spec"]
    pool = spec.get("pool") or {}
    place = (str(spec.get("driver", "")), str(pool.get("name", "")))
    devices: defaultdict[str, list[Device]] = defaultdict(list)
    for each in spec.get("devices") or []:
        if node := each.get("nodeName") or spec.get("nodeName"):
            devices[node].append(_device(place, each))
    return _Slice(
        spec=spec,
        place=place,
        generation=int(pool.get("generation", 0)),
        devices={node: tuple(some) for node, some in devices.items()},
        counters={
            (*place, shared["name"], name): amount_of(name, str(counter["value"]))
            for shared in spec.get("sharedCounters") or []
            for name, counter in (shared.get("counters") or {}).items()
        },
    )


def _device(place: tuple[str, str], found: Json) -> Device:
    driver = place[0]
    return Device(
        id=(*place, found["name"]),
        described={
            "driver": driver,
            "attributes": _by_domain(driver, found.get("attributes") or {}, _attribute),
            "capacity": _by_domain(driver, found.get("capacity") or {}, lambda stated: value_of(stated["value"])),
        },
        consumes={
            (*place, part["counterSet"], name): amount_of(name, str(counter["value"]))
            for part in found.get("consumesCounters") or []
            for name, counter in (part.get("counters") or {}).items()
        },
        taints=taints_of(found),
    )


class _Domains(dict[str, dict[str, Any]]):
    """Attributes or capacities by domain and name; those of an unknown domain are empty, as CEL's are."""

    def __missing__(self, _domain: str) -> dict[str, Any]:
        return {}


def _by_domain(driver: str, stated: Json, read: Callable[[Json], Any]) -> _Domains:
    """Return attributes or capacities by domain and name; a name without a domain belongs to the driver."""
    found = _Domains()
    for name, value in stated.items():
        domain, _, own = name.rpartition("/")
        found.setdefault(domain or driver, {})[own] = read(value)
    return found


def _attribute(stated: Json) -> Any:
    """Return the value of an attribute, a mapping with one entry."""
    ((kind, value),) = stated.items()
    return version(value) if kind == "version" else value


def _read_class(found: Json) -> _Class:
    spec = found.get("spec") or {}
    names = {IMPLICIT + found["metadata"]["name"], spec.get("extendedResourceName") or ""} - {""}
    return _Class(selectors=_expressions(spec), resources=frozenset(names))


def _read_template(found: Json) -> list[Json]:
    """Return the requests of the claims that the template makes, without those of observers: these share devices."""
    stated = (found.get("spec") or {}).get("spec") or {}
    requests = (stated.get("devices") or {}).get("requests") or []
    return [request for request in requests if not (request.get("exactly") or {}).get("adminAccess")]


def _read_claim(found: Json) -> _Claim | None:
    """Return an allocated claim; None = none, or only for observers, which share devices."""
    status = found.get("status") or {}
    results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or []
    held = [result for result in results if not result.get("adminAccess")]
    if not held:
        return None
    return _Claim(
        devices=frozenset((r.get("driver", ""), r.get("pool", ""), r.get("device", "")) for r in held),
        pods=frozenset(each["uid"] for each in status.get("reservedFor") or [] if each.get("resource") == "pods"),
    )


def _expressions(stated: Json) -> tuple[str, ...]:
    return tuple(str((selector.get("cel") or {}).get("expression", "")) for selector in stated.get("selectors") or [])


def _options(request: Json) -> list[Json]:
    """Return the devices that satisfy a request of a claim, in the order of preference."""
    return [request["exactly"]] if request.get("exactly") else list(request.get("firstAvailable") or [])


def _class_of(option: Json) -> str:
    return str(option.get("deviceClassName", ""))


_READ = {SLICES: _read_slice, CLASSES: _read_class, CLAIMS: _read_claim, TEMPLATES: _read_template}
