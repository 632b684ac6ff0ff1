"""Fill in defaults, and bring built-in values into canonical form."""

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
        for item in value:
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
        typed = child_schema.type or child_schema.int_or_string
        if value[name] is None and typed and not child_schema.nullable:
            del value[name]
        else:
            apply_defaults(value[name], child_schema)


def normalise(value: Any, schema: Schema) -> None:
    """Bring a built-in object into canonical form, in place: null means absent, 0.5 CPUs are 500m."""
    if isinstance(value, dict):
        for name in list(value):
            child = schema.field(name)
            if child is None or not child.type:
                continue
            if value[name] is None and not child.nullable:
                del value[name]
            elif child.quantity:
                value[name] = canonical(value[name])
            else:
                normalise(value[name], child)
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            normalise(item, schema.items)
