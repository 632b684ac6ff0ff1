"""CustomResourceDefinitions: defaults, the rules they must keep, and the resources they define.

`crds` in the parent package serves the resources that `resources_of` returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from agentpool_devcluster.api.errors import Cause
from agentpool_devcluster.api.objects import Json, dig, name_of
from agentpool_devcluster.api.registry import Column, Resource, ScalePaths
from agentpool_devcluster.api.schema.custom import custom
from agentpool_devcluster.api.schema.node import Schema
from agentpool_devcluster.api.schema.rules import rule_problems
from agentpool_devcluster.api.tables.json_path import find

_AGE = Column(
    name="Age",
    json_path=".metadata.creationTimestamp",
    type="date",
    description="CreationTimestamp is a timestamp representing the server time when this object was created.",
)


def default_definition(body: Json) -> None:
    """Fill in the defaults of a definition, in place."""
    spec = body.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind")
    if kind:
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})


def definition_problems(body: Json, old: Json | None) -> Iterator[Cause]:
    """Yield the problems of a definition."""
    spec = body.get("spec") or {}
    names = spec.get("names") or {}
    expected = f"{names.get('plural')}.{spec.get('group')}"
    if name_of(body) != expected:
        message = f'Invalid value: "{name_of(body)}": must be spec.names.plural+"."+spec.group'
        yield Cause(reason="FieldValueInvalid", message=message, field="metadata.name")
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        message = f'Unsupported value: "{spec.get("scope")}": supported values: "Cluster", "Namespaced"'
        yield Cause(reason="FieldValueNotSupported", message=message, field="spec.scope")
    versions = [version for version in spec.get("versions") or () if isinstance(version, dict)]
    if sum(1 for version in versions if version.get("storage")) != 1:
        message = "must have exactly one version marked as storage version"
        yield Cause(reason="FieldValueInvalid", message=f"Invalid value: {message}", field="spec.versions")
    if dig(spec, "conversion", "strategy") == "Webhook":
        message = 'Unsupported value: "Webhook": the devcluster runs no conversion webhooks; use a real cluster'
        yield Cause(reason="FieldValueNotSupported", message=message, field="spec.conversion.strategy")
    for index, version in enumerate(versions):
        yield from _version_problems(version, f"spec.versions[{index}]")
    for field in ("group", "scope"):
        if old is not None and dig(old, "spec", field) != spec.get(field):
            message = f'Invalid value: "{spec.get(field)}": field is immutable'
            yield Cause(reason="FieldValueInvalid", message=message, field=f"spec.{field}")


def _version_problems(version: Json, path: str) -> Iterator[Cause]:
    root = dig(version, "schema", "openAPIV3Schema")
    place = f"{path}.schema.openAPIV3Schema"
    if not isinstance(root, dict):
        message = "Required value: schemas are required"
        yield Cause(reason="FieldValueRequired", message=message, field=place)
        return
    if root.get("type") != "object":
        message = f'Invalid value: "{root.get("type")}": must be object at the root'
        yield Cause(reason="FieldValueInvalid", message=message, field=f"{place}.type")
    yield from _structural_problems(root, place)
    yield from rule_problems(root, place)
    yield from _column_problems(version, f"{path}.additionalPrinterColumns")


def _column_problems(version: Json, path: str) -> Iterator[Cause]:
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        try:
            find({}, str(column.get("jsonPath") or ""))
        except ValueError as error:
            message = f'Invalid value: "{column.get("jsonPath")}": {error}'
            yield Cause(reason="FieldValueInvalid", message=message, field=f"{path}[{index}].jsonPath")


def _structural_problems(raw: Any, path: str) -> Iterator[Cause]:
    if not isinstance(raw, dict):
        return
    free = raw.get("x-kubernetes-int-or-string") or raw.get("x-kubernetes-preserve-unknown-fields")
    if not raw.get("type") and not free:
        message = "Required value: must not be empty for specified object fields"
        yield Cause(reason="FieldValueRequired", message=message, field=f"{path}.type")
    if raw.get("type") == "array" and not isinstance(raw.get("items"), dict):
        message = "Required value: must be specified"
        yield Cause(reason="FieldValueRequired", message=message, field=f"{path}.items")
    if raw.get("x-kubernetes-list-type") == "map" and not raw.get("x-kubernetes-list-map-keys"):
        message = "Required value: must not be empty if x-kubernetes-list-type is map"
        yield Cause(reason="FieldValueRequired", message=message, field=f"{path}.x-kubernetes-list-map-keys")
    if raw.get("properties") and raw.get("additionalProperties"):
        message = "Forbidden: additionalProperties and properties are mutual exclusive"
        yield Cause(reason="FieldValueForbidden", message=message, field=f"{path}.additionalProperties")
    for name, child in (raw.get("properties") or {}).items():
        yield from _structural_problems(child, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        yield from _structural_problems(raw.get(key), f"{path}.{key}")


def resources_of(body: Json) -> list[Resource]:
    """Return the resources of a definition, one for each served version."""
    spec = body["spec"]
    versions = spec["versions"]
    storage = next(version["name"] for version in versions if version.get("storage"))
    return [_resource(spec, version, storage) for version in versions if version.get("served", True)]


def _resource(spec: Json, version: Json, storage: str) -> Resource:
    names, subresources = spec["names"], version.get("subresources") or {}
    scale = subresources.get("scale")
    raw = dig(version, "schema", "openAPIV3Schema")

    @cache
    def schema() -> Schema:
        return custom(raw)

    columns = tuple(_column(raw) for raw in version.get("additionalPrinterColumns") or ())
    return Resource(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        kind=names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(name for name in ("status", "scale") if name in subresources),
        schema=schema,
        storage_version=f"{spec['group']}/{storage}",
        is_custom=True,
        has_generation=True,
        scale=_scale_paths(scale) if scale else None,
        columns=columns or (_AGE,),
        selectable_fields=tuple(field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()),
        deprecation=_deprecation(spec, version),
    )


def _deprecation(spec: Json, version: Json) -> str:
    if not version.get("deprecated"):
        return ""
    default = f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
    return str(version.get("deprecationWarning") or default)


def _scale_paths(scale: Json) -> ScalePaths:
    return ScalePaths(
        spec=scale["specReplicasPath"],
        status=scale["statusReplicasPath"],
        selector=scale.get("labelSelectorPath") or "",
    )


def _column(raw: Json) -> Column:
    return Column(
        name=raw["name"],
        json_path=raw["jsonPath"],
        type=raw.get("type") or "string",
        format=raw.get("format") or "",
        description=raw.get("description") or "",
        priority=int(raw.get("priority") or 0),
    )
