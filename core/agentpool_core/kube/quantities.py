"""Kubernetes quantities as whole numbers: millicores for cpu, units for everything else.

The grammar is the API's (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/); fractions
are rounded up, as in the scheduler. Used by the operator's `capacity.inventory`, `children.drift` and `pools.resolve`.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

_QUANTITY = re.compile(r"^([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([KMGTPE]i|[numkMGTPE]))?$")
_BINARY = {f"{prefix}i": Decimal(1024) ** power for power, prefix in enumerate("KMGTPE", start=1)}
_DECIMAL = {prefix: Decimal(1000) ** power for power, prefix in enumerate("kMGTPE", start=1)}
_SMALL = {prefix: Decimal(1000) ** -power for power, prefix in enumerate("mun", start=1)}
_SUFFIXES = _BINARY | _DECIMAL | _SMALL
MILLI = 1000
LARGEST = Decimal(2) ** 63 - 1  # the API server's maximum; 1e999999 as a whole number would exhaust memory


def value_of(quantity: object) -> Decimal | None:
    """Return the quantity's value; None for an invalid quantity."""
    found = _QUANTITY.match(str(quantity))
    if found is None:
        return None
    number, exponent, suffix = found.groups()
    try:
        return Decimal(number + (exponent or "")) * _SUFFIXES.get(suffix, Decimal(1))
    except ArithmeticError:
        return None


@lru_cache(maxsize=4096)
def amount_of(resource: str, quantity: str) -> int:
    """Return a resource's amount as a whole number, rounded up; 0 for an invalid quantity."""
    value = _bounded(value_of(quantity) or Decimal(0))
    if resource == "cpu":
        value = _bounded(value * MILLI)
    return int(value.to_integral_value(rounding=ROUND_CEILING))


def _bounded(value: Decimal) -> Decimal:
    return max(-LARGEST, min(value, LARGEST))


def same_quantity(left: object, right: object) -> bool:
    """Return whether two values are the same quantity."""
    first = value_of(left)
    return first is not None and first == value_of(right)
