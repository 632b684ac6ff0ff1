"""Strategic merge patch: a merge patch that knows which lists are maps in disguise.

Directives: `$patch` (replace, delete, merge), `$retainKeys`, `$deleteFromPrimitiveList/field` and
`$setElementOrder/field`. Which lists merge, and by which key, stands in the schema of the built-in type;
custom types do not take this patch, as on a real API server.
"""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.errors import bad_request
from agentpool_devcluster.api.objects import Json, clone
from agentpool_devcluster.api.schema.node import ANYTHING, Schema

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_ITEMS = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def strategic_merge(target: Json, patch: Any, schema: Schema) -> Json:
    """Return the target with the patch merged in. Raises a 400 refusal for a malformed directive."""
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch is an object")
    return _merge_object(target, patch, schema)


def _merge_object(target: Json, patch: Json, schema: Schema) -> Json:
    directive = patch.get(_PATCH)
    if directive == "replace":
        replaced: Json = _plain(patch)
        return replaced
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"Unknown patch type {directive!r}: $patch takes replace, delete or merge")
    merged = _retained(dict(target), patch)
    for name, value in patch.items():
        if name.startswith("$"):
            _delete_items(merged, name, value)
        elif value is None:
            merged.pop(name, None)
        else:
            child = schema.field(name) or ANYTHING
            merged[name] = _merge_value(merged.get(name), value, child)
    for name, order in patch.items():
        if name.startswith(_ORDER):
            _reorder(merged, name.removeprefix(_ORDER), order, schema)
    return merged


def _merge_value(target: Any, value: Any, schema: Schema) -> Any:
    if isinstance(value, dict):
        if "replace" in schema.patch_strategy and _PATCH not in value:
            return _plain(value)
        return _merge_object(target if isinstance(target, dict) else {}, value, schema)
    if isinstance(value, list) and "merge" in schema.patch_strategy:
        return _merge_list(target if isinstance(target, list) else [], value, schema)
    return _plain(value)


def _merge_list(target: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    if any(isinstance(item, dict) and item.get(_PATCH) == "replace" for item in patch):
        return [_plain(item) for item in patch if not (isinstance(item, dict) and set(item) == {_PATCH})]
    if not schema.patch_key:
        return [*target, *(clone(item) for item in patch if item not in target)]
    return _merge_keyed(target, patch, schema)


def _merge_keyed(target: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    key, item_schema = schema.patch_key, schema.items or ANYTHING
    merged = list(target)
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"expected an object with {key} in a list that merges by {key}, got {item!r}")
        if item.get(_PATCH) == "delete":
            merged = [old for old in merged if not _same(old, item, key)]
            continue
        if key not in item:
            raise bad_request(f"map: {item!r} does not contain declared merge key: {key}")
        position = next((index for index, old in enumerate(merged) if _same(old, item, key)), None)
        if position is None:
            merged.append(_merge_object({}, item, item_schema))
        else:
            merged[position] = _merge_object(merged[position], item, item_schema)
    return merged


def _same(old: Any, item: Json, key: str) -> bool:
    return isinstance(old, dict) and old.get(key) == item.get(key)


def _retained(target: Json, patch: Json) -> Json:
    keep = patch.get(_RETAIN)
    return target if keep is None else {name: value for name, value in target.items() if name in keep}


def _delete_items(merged: Json, name: str, value: Any) -> None:
    if not name.startswith(_DELETE_ITEMS):
        return
    field = name.removeprefix(_DELETE_ITEMS)
    if field in merged and isinstance(value, list):
        merged[field] = [item for item in merged[field] if item not in value]


def _reorder(merged: Json, field: str, order: Any, schema: Schema) -> None:
    """Put elements in the asked order; those the patch does not name keep their place beside their elders."""
    items = merged.get(field)
    if not isinstance(items, list) or not isinstance(order, list):
        return
    known = schema.field(field)
    key = known.patch_key if known is not None else ""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    ranks = {repr(identity(item)): rank for rank, item in enumerate(order)}
    ordered = sorted(
        (item for item in items if repr(identity(item)) in ranks), key=lambda item: ranks[repr(identity(item))]
    )
    others = [(index, item) for index, item in enumerate(items) if repr(identity(item)) not in ranks]
    for index, item in others:
        ordered.insert(min(index, len(ordered)), item)
    merged[field] = ordered


def _plain(value: Any) -> Any:
    """Copy a value without its directives."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if not name.startswith("$") and item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
