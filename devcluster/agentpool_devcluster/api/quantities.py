"""Resource quantities (500m, 1Gi, 2e3) as exact numbers and in the canonical form of Kubernetes."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

_BINARY = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4, "Pi": 1024**5, "Ei": 1024**6}
_DECIMAL = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(1000),
    "M": Decimal("1e6"), "G": Decimal("1e9"), "T": Decimal("1e12"), "P": Decimal("1e15"), "E": Decimal("1e18"),
}  # fmt: skip
_FORM = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?$")


@lru_cache(maxsize=4096)
def parse(text: str) -> Decimal:
    """Return the quantity's value. Raises ValueError if the text is no quantity."""
    found = _FORM.match(text)
    if found is None:
        raise ValueError(
            f"{text!r}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, suffix = found.group(1), found.group(2) or ""
    try:
        if suffix[:1] in ("e", "E") and len(suffix) > 1:
            return Decimal(number + suffix)
        return Decimal(number) * (Decimal(_BINARY[suffix]) if suffix in _BINARY else _DECIMAL[suffix])
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no quantity") from error


def canonical(value: Any) -> Any:
    """Return the quantity as Kubernetes writes it: 0.5 -> 500m, 1024Mi -> 1Gi; other values as they are."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    text = str(value)
    try:
        amount = parse(text)
    except ValueError:
        return value
    return _binary(amount) if text.endswith("i") else _decimal(amount)


def _plain(amount: Decimal) -> str:
    return str(int(amount))


def _binary(amount: Decimal) -> str:
    if amount != amount.to_integral_value():
        return _decimal(amount)
    for suffix, factor in reversed(_BINARY.items()):
        if abs(amount) >= factor and amount % factor == 0:
            return _plain(amount / factor) + suffix
    return _plain(amount)


def _decimal(amount: Decimal) -> str:
    if amount == 0:
        return "0"
    for suffix, factor in reversed(_DECIMAL.items()):
        scaled = amount / factor
        if scaled == scaled.to_integral_value():
            return _plain(scaled) + suffix
    return _plain((amount / _DECIMAL["n"]).to_integral_value(rounding="ROUND_UP")) + "n"
