"""Schemas of custom types, compiled from the openAPIV3Schema of a CustomResourceDefinition.

The metadata of a custom object is that of every Kubernetes object and comes from `schema.builtin`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from agentpool_devcluster.api.schema.builtin import builtin
from agentpool_devcluster.api.schema.node import ABSENT, ANYTHING, ListType, MapType, Schema

_STRUCTURE = frozenset({
    "type", "description", "properties", "additionalProperties", "items", "required", "default", "nullable",
})  # fmt: skip


def custom(root: Mapping[str, Any] | None) -> Schema:
    """Compile the schema of a custom type; without a schema, everything is kept and nothing is checked."""
    node = compile_node(root) if root else Schema(type="object", preserve_unknown=True)
    node.properties = {**node.properties, **_every_object()}
    return node


def _every_object() -> dict[str, Schema]:
    return {
        "apiVersion": Schema(type="string"),
        "kind": Schema(type="string"),
        "metadata": builtin("V1ObjectMeta"),
    }


def compile_node(raw: Mapping[str, Any]) -> Schema:
    """Compile a node of a CustomResourceDefinition's schema."""
    properties = {name: compile_node(child) for name, child in (raw.get("properties") or {}).items()}
    embedded = bool(raw.get("x-kubernetes-embedded-resource"))
    if embedded:
        properties = {**properties, **_every_object()}
    additional = _additional(raw.get("additionalProperties"))
    items = compile_node(raw["items"]) if isinstance(raw.get("items"), Mapping) else None
    rules = tuple(raw.get("x-kubernetes-validations") or ())
    children = [*properties.values(), *(node for node in (additional, items) if node is not None)]
    return Schema(
        type=str(raw.get("type") or ""),
        description=str(raw.get("description") or ""),
        properties=properties,
        additional=additional,
        items=items,
        required=tuple(raw.get("required") or ()),
        default=raw.get("default", ABSENT),
        nullable=bool(raw.get("nullable")),
        preserve_unknown=bool(raw.get("x-kubernetes-preserve-unknown-fields")),
        embedded=embedded,
        int_or_string=bool(raw.get("x-kubernetes-int-or-string")),
        list_type=cast("ListType", raw.get("x-kubernetes-list-type") or "atomic"),
        list_keys=tuple(raw.get("x-kubernetes-list-map-keys") or ()),
        map_type=cast("MapType", raw.get("x-kubernetes-map-type") or "granular"),
        keywords={key: value for key, value in raw.items() if key not in _STRUCTURE},
        rules=rules,
        has_rules_below=bool(rules) or any(child.has_rules_below for child in children),
    )


def _additional(raw: Any) -> Schema | None:
    if isinstance(raw, Mapping):
        return compile_node(raw)
    return ANYTHING if raw is True else None
