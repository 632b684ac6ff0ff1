"""Rules for schemas: no schema reads a file or an address, and no check of a value takes long.

A schema is written by the owner of a pool, and checked in processes that serve all pools. Three rules bound the work:
references lead into the schema itself; a schema has at most `MOST_PARTS` parts after each reference is replaced by its
target; a schema that contains itself does so at most once at each place of a value, so that the work grows with the
size of the value and not with powers of its depth. `checker` compiles the accepted schemas. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, TypeAlias

from agentpool_core.json_schema.patterns import weight_of

Schema: TypeAlias = Mapping[str, Any]
Path: TypeAlias = tuple[str, ...]  # places in a value: names of fields, ANY_FIELD, ITEM

MOST_BYTES = 16_384  # of a schema as JSON
MOST_PARTS = 2_000  # subschemas, listed values, and weights of patterns, with references replaced
MOST_LEVELS = 64  # objects and lists within each other
MOST_PATTERN_CHARS = 200
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ANY_FIELD, ITEM = "*", "[]"
_ROOT = "#"
_PLAIN_NAME = re.compile(r"[\w.-]+")  # in a pointer, `/`, `~` and `%` lead to a part of a different name
_REFUSED = {
    "$id": "remove it",
    "$anchor": "refer to the definition by #/$defs/NAME",
    "$dynamicRef": "use $ref",
    "$dynamicAnchor": "use $ref",
    "$vocabulary": "remove it",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
}
_LISTS = ("allOf", "anyOf", "oneOf")  # of subschemas for the same value
_SAME = ("not", "if", "then", "else")  # subschemas for the same value
_INNER = {  # subschemas for values inside
    "additionalProperties": ANY_FIELD,
    "propertyNames": ANY_FIELD,
    "items": ITEM,
    "contains": ITEM,
}


class SchemaError(ValueError):
    """A schema that is not accepted; the message names the place, the problem and the remedy."""


def check_rules(schema: Any) -> int:
    """Return the number of parts of a schema. Raises SchemaError for a schema that breaks a rule."""
    if not isinstance(schema, dict):
        raise SchemaError(f"{_ROOT}: not a JSON object; write a JSON Schema such as {{type: object}}")
    if _levels(schema) > MOST_LEVELS:
        raise SchemaError(f"{_ROOT}: nested more than {MOST_LEVELS} levels deep; put inner parts into $defs")
    size = _size(schema)
    if size > MOST_BYTES:
        raise SchemaError(f"{_ROOT}: {size} bytes as JSON, more than {MOST_BYTES}; describe less, or split the kind")
    return _Rules(schema).count()


def _size(schema: Schema) -> int:
    """Return the bytes of a schema as JSON."""
    try:
        return len(json.dumps(schema, allow_nan=False))
    except (ValueError, TypeError) as error:  # of a program: a default of NaN, a name that is no text
        raise SchemaError(f"{_ROOT}: JSON cannot express it ({error}); use finite numbers and names of text") from error


class _Rules:
    """The rules for a schema, with its definitions by reference."""

    def __init__(self, schema: Schema) -> None:
        self._targets: dict[str, Any] = {_ROOT: schema}
        for keyword in ("$defs", "definitions"):
            named = _object(schema.get(keyword, {}), f"{_ROOT}/{keyword}")
            self._targets |= {
                f"{_ROOT}/{keyword}/{name}": target for name, target in named.items() if _PLAIN_NAME.fullmatch(name)
            }
        self._parts = 0
        self._seen: list[tuple[str, Path]] = []  # references to recursive targets in the scope that is read
        self._recursive: frozenset[str] = frozenset()

    def count(self) -> int:
        """Return the parts; a reference to a recursive target counts all parts of such targets."""
        direct = {name: self._references(name) for name in self._targets}
        self._recursive = frozenset(name for name in direct if name in _reached(name, direct))
        repeated = sum(self._count_scope(name) for name in sorted(self._recursive))
        return repeated + self._count_scope(_ROOT) + repeated * len(self._seen)

    def _count_scope(self, name: str) -> int:
        """Return the parts of a target whose recursive references are not followed."""
        self._parts, self._seen = 0, []
        self._read(self._targets[name], name, ())
        if name in self._recursive:
            self._check_recursion(name)
        return self._parts

    def _check_recursion(self, name: str) -> None:
        """Refuse a target that refers to recursive targets twice at a place of a value, or at its own place."""
        twice = next((second for first, second in combinations(self._seen, 2) if _meet(first[1], second[1])), None)
        reference, path = twice or next((seen for seen in self._seen if not seen[1]), ("", ()))
        if reference:
            raise SchemaError(
                f"{name}: refers to {reference} again at {'.'.join(path) or 'the same value'}, so a check could take "
                "for ever; refer to recursive definitions once for each field"
            )

    def _references(self, name: str) -> frozenset[str]:
        """Return the references of a target, and check its keywords."""
        found = set()
        for place, part in _all_parts(self._targets[name], name):
            reference = part.get("$ref")
            if reference is None:
                continue
            if not isinstance(reference, str) or reference not in self._targets:
                raise SchemaError(
                    f"{place}: {str(reference)[:80]!r} is not a definition of this schema; put the definition into "
                    "$defs and refer to it by #/$defs/NAME, with a name of letters, digits and . _ -"
                )
            found.add(reference)
        return frozenset(found)

    def _read(self, schema: Any, place: str, path: Path) -> None:
        """Count the parts of a subschema for the value at `path`."""
        self._add(1, place)
        if not isinstance(schema, dict):
            return
        self._add(_weight(schema, place), place)
        reference = schema.get("$ref")
        if reference in self._recursive:
            self._seen.append((reference, path))
        elif reference is not None:
            self._read(self._targets[reference], place, path)
        for at, step, inner in _subschemas(schema, place):
            self._read(inner, at, path if step is None else (*path, step))

    def _add(self, parts: int, place: str) -> None:
        self._parts += parts
        if self._parts > MOST_PARTS:
            raise SchemaError(f"{place}: more than {MOST_PARTS} parts with references replaced; describe less")


def _weight(schema: Schema, place: str) -> int:
    """Return the parts that a subschema's own keywords count. Raises SchemaError for a refused keyword."""
    for keyword, remedy in _REFUSED.items():
        if keyword in schema:
            raise SchemaError(f"{place}: {keyword} is not accepted; {remedy}")
    if schema.get("$schema", DIALECT) != DIALECT:
        raise SchemaError(f"{place}: $schema {str(schema['$schema'])[:80]!r} is not {DIALECT}; remove it")
    patterns = [*_object(schema.get("patternProperties", {}), place), schema.get("pattern", "")]
    for pattern in patterns:
        if len(str(pattern)) > MOST_PATTERN_CHARS:
            raise SchemaError(f"{place}: a pattern of more than {MOST_PATTERN_CHARS} characters; shorten it")
    listed = [schema.get("enum", ()), schema.get("const", ())]
    return sum(weight_of(str(pattern)) for pattern in patterns) + sum(_values(values) for values in listed)


def _subschemas(schema: Schema, place: str) -> Iterator[tuple[str, str | None, Any]]:
    """Yield place, step and subschema for the subschemas of a schema; step None: for the same value."""
    for keyword in _LISTS:
        for number, inner in enumerate(_list(schema.get(keyword, []), f"{place}/{keyword}")):
            yield f"{place}/{keyword}/{number}", None, inner
    for keyword in _SAME:
        if keyword in schema:
            yield f"{place}/{keyword}", None, schema[keyword]
    for keyword, step in _INNER.items():
        if keyword in schema:
            yield f"{place}/{keyword}", step, schema[keyword]
    for number, inner in enumerate(_list(schema.get("prefixItems", []), f"{place}/prefixItems")):
        yield f"{place}/prefixItems/{number}", ITEM, inner
    for keyword in ("properties", "patternProperties", "dependentSchemas"):
        for name, inner in _object(schema.get(keyword, {}), f"{place}/{keyword}").items():
            inside = {"properties": name, "patternProperties": ANY_FIELD}.get(keyword)
            yield f"{place}/{keyword}/{name}", inside, inner


def _all_parts(schema: Any, place: str) -> Iterator[tuple[str, Schema]]:
    """Yield all subschemas that are objects, references not followed."""
    if isinstance(schema, dict):
        yield place, schema
        for at, _, inner in _subschemas(schema, place):
            yield from _all_parts(inner, at)


def _reached(name: str, direct: Mapping[str, frozenset[str]]) -> set[str]:
    found: set[str] = set()
    due = list(direct[name])
    while due:
        reference = due.pop()
        if reference not in found:
            found.add(reference)
            due += direct[reference]
    return found


def _meet(first: Path, second: Path) -> bool:
    """Return whether a place of a value can lie on both paths."""
    return all(a == b or (ANY_FIELD in {a, b} and ITEM not in {a, b}) for a, b in zip(first, second, strict=False))


def _levels(value: Any) -> int:
    """Return the levels of objects and lists in a value, or a number above MOST_LEVELS."""
    levels, layer = 0, [value]
    while layer and levels <= MOST_LEVELS:
        levels += 1
        layer = [inner for part in layer for inner in _parts_of(part)]
    return levels


def _parts_of(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _values(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_values, value.values()))
    return 1 + sum(map(_values, value)) if isinstance(value, list) else int(value != ())


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SchemaError(f"{place}: not a JSON object; give subschemas by name")
    return value


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise SchemaError(f"{place}: not a list; give a list of subschemas")
    return value
