"""Merge an applied configuration into the live object, and remove fields that are no longer applied."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agentpool_devcluster.api.apply.fieldset import Path, field_step, is_atomic, steps
from agentpool_devcluster.api.errors import bad_request
from agentpool_devcluster.api.objects import clone
from agentpool_devcluster.api.schema.node import ANYTHING, Schema

_GONE = object()


def merge(live: Any, config: Any, schema: Schema) -> Any:
    """Return the live object with everything the configuration says."""
    if type(live) is not type(config) or is_atomic(config, schema):
        return clone(config)
    if isinstance(config, dict):
        merged = dict(live)
        for name, value in config.items():
            child = schema.field(name) or ANYTHING
            merged[name] = merge(live[name], value, child) if name in live else clone(value)
        return merged
    return _merge_elements(live, config, schema)


def _merge_elements(live: list[Any], config: list[Any], schema: Schema) -> list[Any]:
    """Merge list elements: the configuration's elements in its order, the rest unmoved."""
    wanted = dict(_unique(config, schema))
    known = dict(steps(live, schema))
    merged = [
        (step, merge(known[step], item, schema.items or ANYTHING) if step in known else clone(item))
        for step, item in wanted.items()
    ]
    for position, (step, item) in enumerate(known.items()):
        if step not in wanted:
            merged.insert(min(position, len(merged)), (step, item))
    return [item for _, item in merged]


def _unique(config: list[Any], schema: Schema) -> list[tuple[str, Any]]:
    found = steps(config, schema)
    seen: set[str] = set()
    for step, _ in found:
        if step in seen:
            raise bad_request(f"duplicate entries for key {step.partition(':')[2]} in an applied list")
        seen.add(step)
    return found


def remove(value: Any, schema: Schema, doomed: Collection[Path]) -> Any:
    """Return the object without the fields in `doomed`; containers that become empty are removed too."""
    found = _remove(value, schema, (), set(doomed), _ancestors(doomed))
    return {} if found is _GONE else found


def _ancestors(paths: Collection[Path]) -> set[Path]:
    return {path[:length] for path in paths for length in range(len(path))}


def _remove(value: Any, schema: Schema, path: Path, doomed: set[Path], on_the_way: set[Path]) -> Any:
    if path in doomed:
        return _GONE
    if path not in on_the_way or not value or is_atomic(value, schema):
        return value
    if isinstance(value, dict):
        fields = {
            name: _remove(item, schema.field(name) or ANYTHING, (*path, field_step(name)), doomed, on_the_way)
            for name, item in value.items()
        }
        kept = {name: item for name, item in fields.items() if item is not _GONE}
        return kept or _GONE
    elements = [
        _remove(item, schema.items or ANYTHING, (*path, step), doomed, on_the_way)
        for step, item in steps(value, schema)
    ]
    return [item for item in elements if item is not _GONE] or _GONE
