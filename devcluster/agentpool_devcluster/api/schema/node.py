"""A node of a schema, the same for built-in and custom types.

Pruning, defaulting, validation, server-side apply, strategic merge and the OpenAPI documents all walk these nodes.
`schema.custom` builds them from a CustomResourceDefinition, `schema.builtin` from the models of the official client,
lazily, because built-in types are many and recursive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ListType = Literal["atomic", "set", "map"]
MapType = Literal["granular", "atomic"]


class _Absent:
    """Marks a schema without a default; None is a legal default."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


@dataclass(slots=True, kw_only=True)
class Schema:
    """Allowed content of a field of an object, with the merge rules of its lists and maps."""

    type: str = ""  # object, array, string, integer, number, boolean; empty: anything
    description: str = ""  # for `kubectl explain`
    properties: Mapping[str, Schema] = field(default_factory=dict)  # named fields of an object
    additional: Schema | None = None  # schema of a map's values; None: no further fields
    items: Schema | None = None  # schema of a list's elements
    required: tuple[str, ...] = ()  # names of fields that must be present
    default: Any = ABSENT  # value for an absent field
    nullable: bool = False  # null is a distinct value
    preserve_unknown: bool = False  # fields not named here are kept
    embedded: bool = False  # a whole Kubernetes object with apiVersion, kind, metadata
    int_or_string: bool = False  # 1 and "25%" are both fine
    quantity: bool = False  # a resource quantity, or a map of them: written in canonical form
    list_type: ListType = "atomic"  # how a list is merged and owned
    list_keys: tuple[str, ...] = ()  # fields that identify an element of a map-like list
    map_type: MapType = "granular"  # atomic: owned as a whole
    patch_strategy: tuple[str, ...] = ()  # strategic merge patch: merge, replace, retainKeys
    patch_key: str = ""  # strategic merge patch: key of list elements
    keywords: Mapping[str, Any] = field(default_factory=dict)  # further JSON-schema keywords, as written
    rules: tuple[Mapping[str, Any], ...] = ()  # x-kubernetes-validations, as written
    reference: str = ""  # name of the component in OpenAPI documents; empty: written in place
    base: Schema | None = None  # the shared type behind this field; None: a separate type
    has_rules_below: bool = False  # some node of this subtree has rules: worth descending for them

    def field(self, name: str) -> Schema | None:
        """Return the schema of a field of an object or map; None if unknown."""
        return self.properties.get(name, self.additional)

    def keeps(self, name: str) -> bool:
        """Return whether a field of this name survives pruning."""
        return self.preserve_unknown or not self.type or self.field(name) is not None


ANYTHING = Schema(preserve_unknown=True)  # free-form data: nothing is pruned, nothing is checked


class LazyFields(Mapping[str, Schema]):
    """Fields of a type, computed on first access, so types may be recursive."""

    __slots__ = ("_fields", "_load")

    def __init__(self, load: Callable[[], dict[str, Schema]]) -> None:
        self._load = load
        self._fields: dict[str, Schema] | None = None

    def _loaded(self) -> dict[str, Schema]:
        if self._fields is None:
            self._fields = self._load()
        return self._fields

    def __getitem__(self, name: str) -> Schema:
        return self._loaded()[name]

    def __iter__(self) -> Any:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())
