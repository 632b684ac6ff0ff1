"""JSON encoding and decoding of payloads, results, states and progress.

Nothing is pickled. A pydantic model is written by its own `model_dump`. A value that JSON cannot express, that is too
large or nested too deeply is refused by the name of its place before anything is written: every Python version can
decode every stored value. Used by `requests` for submits, and by `consumer` for results of handlers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import InvalidJobError, PayloadTooDeepError, PayloadTooLargeError
from agentpool_core.text import render_error, render_value

if TYPE_CHECKING:
    from agentpool_core.jobs import Json

MAX_BODY_BYTES = 1_048_576  # of a payload, result or state, as JSON
MAX_BODY_DEPTH = 128  # objects and arrays in a payload, result or state; far below any Python's recursion limit
MOST_EXACT = 2**53  # the largest whole number that readers of JSON, Lua and Prometheus keep exact
ENVELOPE_DEPTH = 16  # more of them around bodies: a list of jobs, a request's parameters
_SCALARS = (str, bool, int, type(None))
_decoder: Any = json.JSONDecoder()  # the scanner ships without types
_scan = _decoder.scan_once
_TEXTS_AND_REST = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[^\[\]{}"]++', re.DOTALL)
_AS_ARRAYS = str.maketrans("{}", "[]")


def _dumped(value: Any) -> Any:
    """Return a pydantic model as JSON values. Raises TypeError for any other value that JSON cannot express."""
    if not _is_model(value):
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return value.model_dump(mode="json", by_alias=True)


def _is_model(value: Any) -> bool:
    return hasattr(type(value), "model_dump")


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_dumped).encode


class UndecodableError(ValueError):
    """Stored text is not the JSON that `encode` writes; the message shows the beginning of the text."""


def encode(field: str, value: Json) -> str:
    """Return `value` as JSON text.

    Raises InvalidJobError naming the place of a value that JSON cannot express, PayloadTooDeepError below
    MAX_BODY_DEPTH levels, PayloadTooLargeError above MAX_BODY_BYTES.
    """
    if value is None:  # the result of many handlers; the encoder takes a microsecond
        return "null"
    try:
        text = _encode(value)
    except RecursionError as error:
        raise PayloadTooDeepError(field=field, limit=MAX_BODY_DEPTH) from error
    except KeyboardInterrupt:  # of a person at the keyboard
        raise
    except BaseException as error:  # includes errors of a value's own methods, such as those of a list's subclass
        raise _unfit(field, value, error) from error
    if len(text) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(field=field, size=len(text), limit=MAX_BODY_BYTES)
    check_depth(field, text)
    return text


def decode(text: str) -> Json:
    """Return the value of text written by `encode`, without looking for surrounding text.

    Raises UndecodableError for any other text.
    """
    try:
        check_depth("stored JSON", text)
        value, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError, TypeError, AttributeError, InvalidJobError) as error:
        raise UndecodableError(f"{_why(error)}: {render_value(text)}") from error
    if end != len(text):
        raise UndecodableError(f"more text follows the JSON value: {render_value(text)}")
    return value


def parse(field: str, text: str | bytes, *, envelope: bool = False) -> Json:
    """Return the value of JSON text from outside. `envelope`: the text contains bodies, which may have the full depth.

    Raises ValueError for invalid JSON, for NaN, Infinity and numbers beyond the range of floats, and
    PayloadTooDeepError naming `field`.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    check_depth(field, text, MAX_BODY_DEPTH + ENVELOPE_DEPTH if envelope else MAX_BODY_DEPTH)
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:  # unbalanced brackets, or a caller with a nearly exhausted stack
        raise ValueError("nested too deeply to be read") from error


def check_depth(field: str, text: str, deepest: int = MAX_BODY_DEPTH) -> None:
    """Raise PayloadTooDeepError for JSON text with more than `deepest` levels. Most text is only counted."""
    if len(text) > 2 * deepest and text.count("[") + text.count("{") > deepest and _is_deeper(text, deepest):
        raise PayloadTooDeepError(field=field, limit=deepest)


def _is_deeper(text: str, deepest: int) -> bool:
    """Return whether brackets outside of texts go deeper. Each round removes the innermost level, in C."""
    brackets = _TEXTS_AND_REST.sub("", text).translate(_AS_ARRAYS)
    for _ in range(deepest):
        left = brackets.replace("[]", "")
        if not left:
            return False
        if len(left) == len(brackets):
            break
        brackets = left
    depth = 0
    for bracket in brackets:  # deeper levels, or brackets without their partner
        depth += 1 if bracket == "[" else -1
        if depth < 0:
            return False  # no JSON at all: the parser names the place
    return len(brackets) > 0 and depth == 0


def _unfit(field: str, value: Json, error: BaseException) -> InvalidJobError:
    try:
        place, found = _culprit(field, value, depth=0) or (field, value)
    except BaseException:  # noqa: BLE001  # the value's own methods, or a stack that is nearly used up
        place, found = field, value
    return InvalidJobError(
        field=place,
        value=found,
        problem=f"JSON cannot express it ({render_error(error)})",
        remedy="send objects with text keys, arrays, text, finite numbers, booleans and null",
    )


def _why(error: Exception) -> str:
    if isinstance(error, PayloadTooDeepError):
        return error.problem
    return str(error) if isinstance(error, ValueError) else "not JSON"


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _culprit(place: str, value: Json, *, depth: int) -> tuple[str, object] | None:
    """Return the place of the first value that JSON cannot express, and that value."""
    if isinstance(value, _SCALARS) or (isinstance(value, float) and math.isfinite(value)) or _is_model(value):
        return None
    inner: Iterable[tuple[str, Any]]
    if depth < MAX_BODY_DEPTH and isinstance(value, dict):
        odd = next((key for key in value if not isinstance(key, (*_SCALARS, float))), None)
        if odd is not None:
            return f"{place} key", odd
        inner = ((f"{place}.{key}", item) for key, item in value.items())
    elif depth < MAX_BODY_DEPTH and isinstance(value, list | tuple):
        inner = ((f"{place}[{index}]", item) for index, item in enumerate(value))
    else:
        return place, value
    found = (_culprit(at, item, depth=depth + 1) for at, item in inner)
    return next((culprit for culprit in found if culprit), None)
