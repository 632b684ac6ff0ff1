"""Fill in what an object leaves out: schema defaults, and quantities in canonical form."""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.objects import clone
from agentpool_devcluster.api.quantities import canonical
from agentpool_devcluster.api.schema.node import ABSENT, Schema


def apply_defaults(value: Any, schema: Schema) -> None:
    """Fill defaults in place. A null where null is no value counts as absent."""
    if isinstance(value, dict):
        _default_object(value, schema)
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            if schema.items.quantity:
                value[index] = canonical(item)
            apply_defaults(item, schema.items)


def _default_object(value: dict[str, Any], schema: Schema) -> None:
    for name, child in schema.properties.items():
        if child.default is ABSENT:
            continue
        if name not in value or (value[name] is None and not child.nullable):
            value[name] = clone(child.default)
    for name in list(value):
        child_schema = schema.field(name)
        if child_schema is None:
            continue
        if child_schema.quantity:
            value[name] = canonical(value[name])
        apply_defaults(value[name], child_schema)


def drop_nulls(value: Any, schema: Schema) -> None:
    """Remove in place the nulls that are no values: for built-in types, null means absent."""
    if isinstance(value, dict):
        for name in list(value):
            child = schema.field(name)
            if child is None or not child.type:
                continue
            if value[name] is None and not child.nullable:
                del value[name]
            else:
                drop_nulls(value[name], child)
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            drop_nulls(item, schema.items)
