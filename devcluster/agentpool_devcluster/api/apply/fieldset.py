"""Sets of fields: which places of an object someone owns.

A place is a tuple of steps as FieldsV1 writes them: `f:spec` for a field, `k:{"name":"a"}` for an element of
a map-like list, `v:"x"` for an element of a set. Plain frozensets of such tuples do all the set arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias

from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.schema.node import ABSENT, ANYTHING, Schema

Path: TypeAlias = tuple[str, ...]
FieldSet: TypeAlias = frozenset[Path]

EMPTY: FieldSet = frozenset()
# Fields without an owner: identity and server-set fields.
UNOWNED: FieldSet = frozenset({
    ("f:apiVersion",), ("f:kind",), ("f:metadata",),
    *(("f:metadata", f"f:{name}") for name in (
        "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields",
        "resourceVersion",
    )),
})  # fmt: skip


def field_step(name: str) -> str:
    """Return the step into a named field."""
    return f"f:{name}"


def value_step(value: Any) -> str:
    """Return the step to an element of a set."""
    return "v:" + json.dumps(value, separators=(",", ":"), sort_keys=True)


def key_step(item: Any, schema: Schema) -> str:
    """Return the step to an element of a map-like list; key fields that are left out take their default."""
    items = schema.items or ANYTHING
    keys: Json = {}
    for key in schema.list_keys:
        value = item.get(key, ABSENT) if isinstance(item, dict) else ABSENT
        known = items.field(key)
        if value is ABSENT and known is not None and known.default is not ABSENT:
            value = known.default
        if value is not ABSENT:
            keys[key] = value
    return "k:" + json.dumps(keys, separators=(",", ":"), sort_keys=True)


def steps(items: list[Any], schema: Schema) -> list[tuple[str, Any]]:
    """Return the elements of a set or map-like list with the steps that lead to them."""
    if schema.list_type == "set":
        return [(value_step(item), item) for item in items]
    return [(key_step(item, schema), item) for item in items]


def is_atomic(value: Any, schema: Schema) -> bool:
    """Return whether a value is owned as a whole."""
    if isinstance(value, dict):
        return schema.map_type == "atomic"
    if isinstance(value, list):
        return schema.list_type == "atomic"
    return True


def fields_of(value: Any, schema: Schema) -> FieldSet:
    """Return the places that applying this configuration lays claim to."""
    found: set[Path] = set()
    _collect(value, schema, (), found)
    return frozenset(found) - UNOWNED


def _collect(value: Any, schema: Schema, path: Path, found: set[Path]) -> None:
    if is_atomic(value, schema):
        found.add(path)
    elif isinstance(value, dict):
        if not value:
            found.add(path)
        for name, item in value.items():
            place = (*path, field_step(name))
            if name not in schema.properties:
                found.add(place)
            _collect(item, schema.field(name) or ANYTHING, place, found)
    else:
        for step, item in steps(value, schema):
            place = (*path, step)
            found.add(place)
            if schema.list_type == "map":
                _collect(item, schema.items or ANYTHING, place, found)


def encode(fields: Iterable[Path]) -> Json:
    """Return the set as FieldsV1."""
    root: Json = {}
    for path in sorted(fields):
        node = root
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    return _without_leaf_marks(root)


def _without_leaf_marks(node: Json) -> Json:
    return {step: {} if set(child) <= {"."} else _without_leaf_marks(child) for step, child in node.items()}


def decode(fields: Any) -> FieldSet:
    """Read FieldsV1. Anything malformed reads as owning nothing."""
    found: set[Path] = set()
    _decode(fields, (), found)
    return frozenset(found)


def _decode(node: Any, path: Path, found: set[Path]) -> None:
    if not isinstance(node, dict):
        return
    if path and (not node or "." in node):
        found.add(path)
    for step, child in node.items():
        if step != ".":
            _decode(child, (*path, step), found)


def with_parents(fields: Iterable[Path]) -> set[Path]:
    """Return the set with all ancestors of its members."""
    return {path[:length] for path in fields for length in range(1, len(path) + 1)}


def describe(path: Path) -> str:
    """Return a path in the form of conflict messages: .spec.containers[name="a"].image."""
    text = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            pairs = json.loads(rest)
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in pairs.items()) + "]"
        else:
            text += f"[={rest}]"
    return text
