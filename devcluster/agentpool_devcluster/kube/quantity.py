"""Kubernetes quantities ("500m", "2Gi", "1e3") as exact numbers, and the requests of a pod. Pure.

The API server, the scheduler and the nodes share this reader.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Amounts = dict[str, Decimal]
"""Amounts by resource name, in the resource's base unit (cores, bytes, devices)."""

BINARY: dict[str, Decimal] = {
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
DECIMAL: dict[str, Decimal] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
}
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|([numkMGTPE]?|[KMGTPE]i))", re.ASCII)


@lru_cache(maxsize=4096)
def parse_quantity(text: str | float) -> Decimal:
    """Return the number that a quantity denotes. Raises ValueError naming the text if it is not a quantity."""
    found = _FORM.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is not a quantity; write a number, with a suffix such as m, k, Mi or Gi")
    number, exponent, suffix = found.groups()
    if exponent:
        return Decimal(number + exponent)
    return Decimal(number) * (BINARY[suffix] if suffix in BINARY else DECIMAL[suffix])


def amounts_of(quantities: Mapping[str, Any] | None) -> Amounts:
    """Return a `requests`, `limits` or `allocatable` map as numbers."""
    return {name: parse_quantity(value) for name, value in (quantities or {}).items()}


def pod_requests(pod: Mapping[str, Any]) -> Amounts:
    """Return the resources that a pod requests from its node.

    As Kubernetes counts: the sum over containers and sidecars, or the largest moment of the init sequence (an init
    container beside the sidecars started earlier), whichever is larger, plus the pod's overhead.
    """
    spec = pod["spec"]
    running: Amounts = {}
    for container in spec.get("containers") or ():
        running = _sum(running, _container_requests(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        asked = _container_requests(container)
        if container.get("restartPolicy") == "Always":
            sidecars = _sum(sidecars, asked)
            peak = _largest(peak, sidecars)
        else:
            peak = _largest(peak, _sum(sidecars, asked))
    total = _largest(_sum(running, sidecars), peak)
    return _sum(total, amounts_of(spec.get("overhead")))


def sum_of_requests(pods: Iterable[Mapping[str, Any]]) -> Amounts:
    """Return the combined requests of several pods, including a `pods` count."""
    total: Amounts = {}
    for pod in pods:
        total = _sum(_sum(total, pod_requests(pod)), {"pods": Decimal(1)})
    return total


def _container_requests(container: Mapping[str, Any]) -> Amounts:
    resources = container.get("resources") or {}
    # A limit without a request is also a request: the API server defaults the request to the limit.
    return amounts_of(resources.get("limits")) | amounts_of(resources.get("requests"))


def _sum(left: Amounts, right: Amounts) -> Amounts:
    return {name: left.get(name, Decimal(0)) + right.get(name, Decimal(0)) for name in {**left, **right}}


def _largest(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, Decimal(0)), right.get(name, Decimal(0))) for name in {**left, **right}}
