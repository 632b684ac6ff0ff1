"""Schemas as they stand in OpenAPI documents, with references to shared components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.schema.node import ABSENT, Schema


class Components:
    """The components of a document, collected while schemas are written."""

    def __init__(self, prefix: str) -> None:
        self.found: dict[str, Json] = {}
        self._prefix = prefix  # of references, such as #/components/schemas/
        self._wraps_references = prefix.startswith("#/components")  # OpenAPI v3 ignores keys beside $ref

    def reference(self, schema: Schema, kinds: list[Mapping[str, str]] | None = None) -> Json:
        """Return a reference to a shared component; write a new component first."""
        schema = schema.base or schema
        name = schema.reference
        if name not in self.found:
            self.found[name] = {}
            self.found[name].update(self._body(schema))
        if kinds:
            self.found[name]["x-kubernetes-group-version-kind"] = [dict(kind) for kind in kinds]
        return {"$ref": self._prefix + name}

    def add(self, name: str, schema: Schema, kind: Mapping[str, str]) -> Json:
        """Write a component for a resource's own type under a name; return its reference."""
        self.found[name] = {**self._body(schema), "x-kubernetes-group-version-kind": [dict(kind)]}
        return {"$ref": self._prefix + name}

    def _inline(self, schema: Schema) -> Json:
        if not schema.reference:
            return self._body(schema)
        reference = self.reference(schema)
        extras = _extensions(schema)
        if schema.base is None or schema.description != schema.base.description:
            extras["description"] = schema.description
        if not extras:
            return reference
        if self._wraps_references:
            return {**extras, "allOf": [reference], "default": {}}
        return {**extras, **reference}

    def _body(self, schema: Schema) -> Json:
        body: Json = {key: value for key, value in schema.keywords.items() if key not in ("not", "allOf")}
        if schema.description:
            body["description"] = schema.description
        if schema.int_or_string and not schema.type:
            body.update({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
                        if self._wraps_references else {"format": "int-or-string", "type": "string"})  # fmt: skip
        elif schema.type:
            body["type"] = schema.type
        if schema.properties:
            body["properties"] = {name: self._inline(child) for name, child in schema.properties.items()}
        if schema.additional is not None:
            body["additionalProperties"] = self._inline(schema.additional)
        if schema.items is not None:
            body["items"] = self._inline(schema.items)
        if schema.required:
            body["required"] = list(schema.required)
        if schema.default is not ABSENT:
            body["default"] = schema.default
        return {**body, **_extensions(schema)}


def _extensions(schema: Schema) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if schema.type == "array" and (schema.list_type != "atomic" or schema.patch_strategy):
        found["x-kubernetes-list-type"] = schema.list_type
        if schema.list_type == "map":
            found["x-kubernetes-list-map-keys"] = list(schema.list_keys)
    elif schema.type == "array":
        found["x-kubernetes-list-type"] = "atomic"
    if schema.map_type == "atomic":
        found["x-kubernetes-map-type"] = "atomic"
    if schema.patch_strategy:
        found["x-kubernetes-patch-strategy"] = ",".join(schema.patch_strategy)
    if schema.patch_key:
        found["x-kubernetes-patch-merge-key"] = schema.patch_key
    if schema.preserve_unknown and schema.type:
        found["x-kubernetes-preserve-unknown-fields"] = True
    return found
