"""Check an object against its schema, with the error texts of the Kubernetes API server.

Structural keywords are checked here; `schema.rules` takes over with the CEL rules of custom types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from agentpool_devcluster.api.apply.fieldset import steps
from agentpool_devcluster.api.errors import Cause
from agentpool_devcluster.api.objects import parse_timestamp
from agentpool_devcluster.api.schema.node import Schema

_CHECKS: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
}  # fmt: skip


def shown(value: Any) -> str:
    """Return a value in the form of error texts."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def validate(value: Any, schema: Schema, path: str = "") -> Iterator[Cause]:
    """Yield everything that breaks the schema, in the order of the fields."""
    if value is None:
        if not schema.nullable and schema.type:
            yield _wrong_type(value, schema.type, path)
        return
    if schema.int_or_string:
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield _wrong_type(value, "integer,string", path)
    elif schema.type and not _is(value, schema.type):
        if not (schema.quantity and isinstance(value, int | float)):
            yield _wrong_type(value, schema.type, path)
        return
    yield from _keywords(value, schema, path)
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        yield from _array(value, schema, path)


def _is(value: Any, typed: str) -> bool:
    if isinstance(value, bool):
        return typed == "boolean"
    if typed == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _CHECKS.get(typed, object))


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    return next((name for name in ("object", "array", "string", "boolean", "integer") if _is(value, name)), "number")


def _cause(path: str, detail: str, value: Any) -> Cause:
    return Cause(reason="FieldValueInvalid", message=f"Invalid value: {shown(value)}: {detail}", field=path)


def _in_body(path: str, value: Any, rest: str) -> Cause:
    return _cause(path, f"{path} in body {rest}", value)


def _wrong_type(value: Any, typed: str, path: str) -> Cause:
    found = _json_type(value)
    message = f'Invalid value: "{found}": {path} in body must be of type {typed}: "{found}"'
    return Cause(reason="FieldValueTypeInvalid", message=message, field=path)


def _object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Cause]:
    for name in schema.required:
        if name not in value:
            place = f"{path}.{name}" if path else name
            yield Cause(reason="FieldValueRequired", message="Required value", field=place)
    for name, item in value.items():
        child = schema.field(name)
        if child is not None:
            named = name in schema.properties
            place = (f"{path}.{name}" if path else name) if named else f"{path}[{name}]"
            yield from validate(item, child, place if named or path else name)


def _array(value: list[Any], schema: Schema, path: str) -> Iterator[Cause]:
    if schema.items is not None:
        for index, item in enumerate(value):
            yield from validate(item, schema.items, f"{path}[{index}]")
    if schema.list_type in ("set", "map"):
        seen: set[str] = set()
        for index, (step, _) in enumerate(steps(value, schema)):
            if step in seen:
                identity = step.partition(":")[2]
                yield Cause(
                    reason="FieldValueDuplicate", message=f"Duplicate value: {identity}", field=f"{path}[{index}]"
                )
            seen.add(step)


def _keywords(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    keywords = schema.keywords
    if not keywords:
        return
    choices = keywords.get("enum")
    if choices is not None and value not in choices:
        listed = ", ".join(shown(choice) for choice in choices)
        yield Cause(
            reason="FieldValueNotSupported",
            message=f"Unsupported value: {shown(value)}: supported values: {listed}",
            field=path,
        )
    if isinstance(value, str):
        yield from _text(value, keywords, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(value, keywords, path)
    elif isinstance(value, list):
        yield from _length(value, keywords, path, "Items", "items")
    elif isinstance(value, dict):
        yield from _length(value, keywords, path, "Properties", "properties")
    yield from _combined(value, keywords, path)


def _text(value: str, keywords: Any, path: str) -> Iterator[Cause]:
    if len(value) < keywords.get("minLength", 0):
        yield _in_body(path, value, f"should be at least {keywords['minLength']} chars long")
    limit = keywords.get("maxLength")
    if limit is not None and len(value) > limit:
        yield Cause(reason="FieldValueTooLong", message=f"Too long: may not be more than {limit} bytes", field=path)
    pattern = keywords.get("pattern")
    if pattern and not _compiled(pattern).search(value):
        yield _in_body(path, value, f"should match '{pattern}'")
    if keywords.get("format") == "date-time" and parse_timestamp(value) is None:
        yield _in_body(path, value, f"must be of type date-time: {shown(value)}")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(r"\z", r"\Z"))


def _number(value: float, keywords: Any, path: str) -> Iterator[Cause]:
    low, high = keywords.get("minimum"), keywords.get("maximum")
    if low is not None and (value <= low if keywords.get("exclusiveMinimum") else value < low):
        equal = "" if keywords.get("exclusiveMinimum") else " or equal to"
        yield _in_body(path, value, f"should be greater than{equal} {low}")
    if high is not None and (value >= high if keywords.get("exclusiveMaximum") else value > high):
        equal = "" if keywords.get("exclusiveMaximum") else " or equal to"
        yield _in_body(path, value, f"should be less than{equal} {high}")
    step = keywords.get("multipleOf")
    if step and value % step:
        yield _in_body(path, value, f"should be a multiple of {step}")


def _length(value: Any, keywords: Any, path: str, suffix: str, noun: str) -> Iterator[Cause]:
    low, high = keywords.get(f"min{suffix}"), keywords.get(f"max{suffix}")
    if low is not None and len(value) < low:
        yield _in_body(path, _json_type(value), f"should have at least {low} {noun}")
    if high is not None and len(value) > high:
        yield Cause(
            reason="FieldValueTooMany",
            message=f"Too many: {len(value)}: must have at most {high} {noun}",
            field=path,
        )


def _combined(value: Any, keywords: Any, path: str) -> Iterator[Cause]:
    from agentpool_devcluster.api.schema.custom import compile_node

    def fits(choice: Any) -> bool:
        return next(validate(value, compile_node(choice), path), None) is None

    kind = _json_type(value)
    for choice in keywords.get("allOf") or ():
        yield from validate(value, compile_node(choice), path)
    if keywords.get("anyOf") and not any(map(fits, keywords["anyOf"])):
        yield _in_body(path, kind, "must validate at least one schema (anyOf)")
    if keywords.get("oneOf") and sum(map(fits, keywords["oneOf"])) != 1:
        yield _in_body(path, kind, "must validate one and only one schema (oneOf)")
    if keywords.get("not") and fits(keywords["not"]):
        yield _in_body(path, kind, "must not validate the schema (not)")
