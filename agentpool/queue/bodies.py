"""JSON in, JSON out: payloads, results, states and progress on their way into Redis and back.

Nothing is pickled. What JSON cannot say, or what is too large, is refused by the name of its place before anything is
written. Who takes over next: `requests` for submits, `consumer` for what handlers give back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agentpool.errors import InvalidJobError, PayloadTooLargeError

if TYPE_CHECKING:
    from agentpool.jobs import Json

MAX_BODY_BYTES = 1_048_576  # of one payload, result or state, as JSON
_SCALARS = (str, bool, int, type(None))
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decoder: Any = json.JSONDecoder()  # its scanner ships without types
_scan = _decoder.scan_once


def encode(field: str, value: Json) -> str:
    """`value` as JSON text.

    Raises InvalidJobError naming the place of what JSON cannot say, PayloadTooLargeError above MAX_BODY_BYTES.
    """
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        place, found = _culprit(field, value, depth=0) or (field, value)
        raise InvalidJobError(
            field=place,
            value=found,
            problem=f"JSON cannot say it ({error})",
            remedy="send objects with text keys, arrays, text, finite numbers, booleans and null",
        ) from error
    if len(text) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(field=field, size=len(text), limit=MAX_BODY_BYTES)
    return text


def decode(text: str) -> Json:
    """The value of what `encode` wrote: there is nothing before it or after it, so nothing is looked for."""
    return _scan(text, 0)[0]


def _culprit(place: str, value: Json, *, depth: int) -> tuple[str, object] | None:
    """Where the first thing is that JSON cannot say, and what it is."""
    deepest = 100  # levels looked at; deeper is itself the problem
    if isinstance(value, _SCALARS) or (isinstance(value, float) and math.isfinite(value)):
        return None
    inner: Iterable[tuple[str, Any]]
    if depth < deepest and isinstance(value, dict):
        odd = next((key for key in value if not isinstance(key, (*_SCALARS, float))), None)
        if odd is not None:
            return f"{place} key", odd
        inner = ((f"{place}.{key}", item) for key, item in value.items())
    elif depth < deepest and isinstance(value, list | tuple):
        inner = ((f"{place}[{index}]", item) for index, item in enumerate(value))
    else:
        return place, value
    found = (_culprit(at, item, depth=depth + 1) for at, item in inner)
    return next((culprit for culprit in found if culprit), None)
