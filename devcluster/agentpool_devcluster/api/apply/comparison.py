"""Compare two versions of an object and say which places were added, changed or removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agentpool_devcluster.api.apply.fieldset import UNOWNED, FieldSet, Path, field_step, is_atomic, steps
from agentpool_devcluster.api.schema.node import ANYTHING, Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Fields of an object that a write changes."""

    added: FieldSet  # places that were not there
    modified: FieldSet  # fields with a changed value
    removed: FieldSet  # places that are gone

    @property
    def written(self) -> FieldSet:
        """Places that have a new value."""
        return self.added | self.modified

    @property
    def is_empty(self) -> bool:
        """True if nothing changed that anybody could own."""
        return not (self.added or self.modified or self.removed)


@dataclass(slots=True)
class _Walk:
    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)


def compare(old: Any, new: Any, schema: Schema) -> Difference:
    """Return the changes from old to new."""
    walk = _Walk()
    _compare(old, new, schema, (), walk)
    return Difference(
        added=frozenset(walk.added) - UNOWNED,
        modified=frozenset(walk.modified) - UNOWNED,
        removed=frozenset(walk.removed) - UNOWNED,
    )


def _compare(old: Any, new: Any, schema: Schema, path: Path, walk: _Walk) -> None:
    if old == new:
        return
    same_shape = type(old) is type(new)
    if not same_shape or is_atomic(new, schema):
        walk.modified.add(path)
        if not same_shape:
            _every(old, schema, path, walk.removed)
            _every(new, schema, path, walk.added)
            walk.removed.discard(path)
            walk.added.discard(path)
    elif isinstance(new, dict):
        _compare_fields(old, new, schema, path, walk)
    else:
        _compare_elements(old, new, schema, path, walk)


def _compare_fields(old: dict[str, Any], new: dict[str, Any], schema: Schema, path: Path, walk: _Walk) -> None:
    for name in old.keys() | new.keys():
        place, child = (*path, field_step(name)), schema.field(name) or ANYTHING
        if name not in old:
            _every(new[name], child, place, walk.added)
        elif name not in new:
            _every(old[name], child, place, walk.removed)
        else:
            _compare(old[name], new[name], child, place, walk)


def _compare_elements(old: list[Any], new: list[Any], schema: Schema, path: Path, walk: _Walk) -> None:
    before, after = dict(steps(old, schema)), dict(steps(new, schema))
    child = (schema.items or ANYTHING) if schema.list_type == "map" else Schema(map_type="atomic")
    for step in before.keys() | after.keys():
        place = (*path, step)
        if step not in before:
            _every(after[step], child, place, walk.added)
        elif step not in after:
            _every(before[step], child, place, walk.removed)
        else:
            _compare(before[step], after[step], child, place, walk)


def _every(value: Any, schema: Schema, path: Path, found: set[Path]) -> None:
    """Collect a field and everything below it."""
    found.add(path)
    if is_atomic(value, schema):
        return
    if isinstance(value, dict):
        for name, item in value.items():
            _every(item, schema.field(name) or ANYTHING, (*path, field_step(name)), found)
    else:
        for step, item in steps(value, schema):
            if schema.list_type == "map":
                _every(item, schema.items or ANYTHING, (*path, step), found)
            else:
                found.add((*path, step))
