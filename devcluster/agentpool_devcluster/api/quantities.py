"""Resource quantities (500m, 1Gi, 2e3) in the canonical form of Kubernetes; `kube.quantity` reads them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from agentpool_devcluster.kube.quantity import BINARY, DECIMAL, parse_quantity


def canonical(value: Any) -> Any:
    """Return the quantity in canonical form: 0.5 -> 500m, 1024Mi -> 1Gi; leave all remaining values unchanged."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    text = str(value)
    try:
        amount = parse_quantity(text)
    except ValueError:
        return value
    return _binary(amount) if text.endswith("i") else _decimal(amount)


def _plain(amount: Decimal) -> str:
    return str(int(amount))


def _binary(amount: Decimal) -> str:
    if amount != amount.to_integral_value():
        return _decimal(amount)
    for suffix, factor in reversed(BINARY.items()):
        if abs(amount) >= factor and amount % factor == 0:
            return _plain(amount / factor) + suffix
    return _plain(amount)


def _decimal(amount: Decimal) -> str:
    if amount == 0:
        return "0"
    for suffix, factor in reversed(DECIMAL.items()):
        scaled = amount / factor
        if scaled == scaled.to_integral_value():
            return _plain(scaled) + suffix
    return _plain((amount / DECIMAL["n"]).to_integral_value(rounding="ROUND_UP")) + "n"
