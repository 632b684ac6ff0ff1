"""Field ownership: read managedFields, update them on writes, and write them back.

Two ways of writing change ownership. An *update* (create, replace, any patch) owns the fields that it changed and takes
them from all managers. An *apply* owns the fields of its configuration, shares unchanged fields, and is refused with a
conflict if it would change a field of a different manager, unless forced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from agentpool_devcluster.api.apply.comparison import Difference, compare
from agentpool_devcluster.api.apply.fieldset import (
    EMPTY,
    FieldSet,
    Path,
    decode,
    describe,
    encode,
    fields_of,
    with_parents,
)
from agentpool_devcluster.api.apply.merging import merge, remove
from agentpool_devcluster.api.errors import Cause, StatusError
from agentpool_devcluster.api.objects import Json, metadata, timestamp
from agentpool_devcluster.api.schema.node import Schema

Operation = Literal["Apply", "Update"]


class ManagerKey(NamedTuple):
    """Identity of an entry of managedFields."""

    name: str  # field manager
    operation: Operation  # apply entries of all apiVersions share an entry
    api_version: str  # empty for Apply
    subresource: str  # empty for the main resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """An entry of managedFields."""

    fields: FieldSet  # places that are owned
    api_version: str  # version in which the places are named
    time: str  # when the entry last changed


Managers = dict[ManagerKey, Ownership]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Manager, operation and subresource of a write."""

    name: str  # field manager
    api_version: str  # apiVersion of the request
    subresource: str = ""  # status, scale; empty for the main resource

    def key(self, operation: Operation) -> ManagerKey:
        """Return the entry of managedFields that this write belongs to."""
        version = self.api_version if operation == "Update" else ""
        return ManagerKey(self.name, operation, version, self.subresource)


def read_managers(body: Json) -> Managers:
    """Return the owners that an object records."""
    found: Managers = {}
    for entry in metadata(body).get("managedFields") or ():
        if not isinstance(entry, dict) or not entry.get("operation"):
            continue
        version = str(entry.get("apiVersion") or "")
        operation: Operation = "Apply" if entry["operation"] == "Apply" else "Update"
        key = ManagerKey(
            str(entry.get("manager") or ""),
            operation,
            version if operation == "Update" else "",
            str(entry.get("subresource") or ""),
        )
        fields = decode(entry.get("fieldsV1"))
        found[key] = Ownership(fields=fields, api_version=version, time=str(entry.get("time") or ""))
    return found


def write_managers(body: Json, managers: Mapping[ManagerKey, Ownership]) -> None:
    """Record the owners in an object, in the order Kubernetes lists them."""
    entries = [_entry(key, managers[key]) for key in sorted(managers, key=lambda key: _rank(key, managers))]
    if entries:
        body["metadata"]["managedFields"] = entries
    else:
        body["metadata"].pop("managedFields", None)


def _rank(key: ManagerKey, managers: Mapping[ManagerKey, Ownership]) -> tuple[str, str, str, str]:
    return (key.operation, managers[key].time, key.name, key.subresource)


def _entry(key: ManagerKey, owned: Ownership) -> Json:
    entry: Json = {
        "manager": key.name,
        "operation": key.operation,
        "apiVersion": owned.api_version,
        "time": owned.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": encode(owned.fields),
    }
    return {**entry, "subresource": key.subresource} if key.subresource else entry


def after_update(managers: Managers, old: Json, new: Json, schema: Schema, writer: Writer) -> Managers:
    """Return the owners after an update from old to new."""
    change = compare(old, new, schema)
    if change.is_empty:
        return managers
    key = writer.key("Update")
    mine = managers.get(key)
    others = _without(managers, change.written | change.removed, keep=key)
    before = mine.fields if mine else EMPTY
    fields = (before - change.removed) | change.written
    if fields:
        others[key] = _owned(writer, fields, mine)
    return others


def _owned(writer: Writer, fields: FieldSet, before: Ownership | None) -> Ownership:
    if before is not None and before.fields == fields and before.api_version == writer.api_version:
        return before
    return Ownership(fields=fields, api_version=writer.api_version, time=timestamp())


def _without(managers: Managers, places: FieldSet, *, keep: ManagerKey) -> Managers:
    found: Managers = {}
    for key, owned in managers.items():
        if key == keep:
            continue
        left = owned.fields - places
        if left == owned.fields:
            found[key] = owned
        elif left:
            found[key] = Ownership(fields=left, api_version=owned.api_version, time=owned.time)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Result of an apply."""

    body: Json  # the object, without managedFields brought up to date
    managers: Managers  # owners of the result


def apply_configuration(
    live: Json, config: Json, schema: Schema, writer: Writer, managers: Managers, *, force: bool
) -> Applied:
    """Apply a configuration to a live object.

    Raises a 409 refusal that names the managers and fields of all conflicts.
    """
    key = writer.key("Apply")
    before = managers.get(key)
    wanted = fields_of(config, schema)
    others = {other: owned for other, owned in managers.items() if other != key}
    merged = merge(live, config, schema)
    if before is not None:
        merged = remove(merged, schema, _abandoned(before.fields, wanted, others))
    change = compare(live, merged, schema)
    if not force:
        _refuse_conflicts(change, others)
    left = _without(others, change.written | change.removed, keep=key)
    if wanted:
        left[key] = _owned(writer, wanted, before)
    return Applied(body=merged, managers=left)


def _abandoned(before: FieldSet, wanted: FieldSet, others: Managers) -> set[Path]:
    """Return the fields that this manager no longer applies and that have no remaining owner."""
    held = with_parents(wanted)
    for owned in others.values():
        held |= with_parents(owned.fields)
    return {path for path in before if path not in held}


def _refuse_conflicts(change: Difference, others: Managers) -> None:
    conflicts = {key: sorted(owned.fields & change.written) for key, owned in others.items()}
    found = [(key, others[key], path) for key, paths in sorted(conflicts.items()) for path in paths]
    if not found:
        return
    causes = [
        Cause(reason="FieldManagerConflict", message=f"conflict with {_naming(key, owned)}", field=describe(path))
        for key, owned, path in found
    ]
    raise StatusError(409, "Conflict", _conflict_text(found), causes=causes)


def _naming(key: ManagerKey, owned: Ownership) -> str:
    text = f'"{key.name}"'
    if key.subresource:
        text += f' with subresource "{key.subresource}"'
    if key.operation == "Update":
        text += f" using {owned.api_version}"
    return text


def _conflict_text(found: list[tuple[ManagerKey, Ownership, Path]]) -> str:
    many = len(found) > 1
    start = f"Apply failed with {len(found)} conflict{'s' if many else ''}"
    by_manager: dict[str, list[str]] = {}
    for key, owned, path in found:
        by_manager.setdefault(_naming(key, owned), []).append(describe(path))
    parts: list[Any] = []
    for naming, places in by_manager.items():
        if len(places) == 1:
            parts.append(f"conflict with {naming}: {places[0]}")
        else:
            parts.append(f"conflicts with {naming}:\n" + "\n".join(f"- {place}" for place in places))
    return f"{start}: " + "\n".join(parts)
