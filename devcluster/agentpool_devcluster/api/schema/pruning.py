"""Remove the fields that a schema does not know, and say which they were."""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.schema.node import Schema


def prune(value: Any, schema: Schema, path: str = "") -> list[str]:
    """Remove unknown fields in place; return their paths, such as spec.containers[0].imagge."""
    removed: list[str] = []
    if isinstance(value, dict):
        _prune_object(value, schema, path, removed)
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            removed += prune(item, schema.items, f"{path}[{index}]")
    return removed


def _prune_object(value: dict[str, Any], schema: Schema, path: str, removed: list[str]) -> None:
    for name in list(value):
        child = schema.field(name)
        place = f"{path}.{name}" if path else name
        if child is not None:
            removed += prune(value[name], child, place)
        elif not schema.keeps(name):
            del value[name]
            removed.append(place)
