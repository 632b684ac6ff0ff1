"""OpenAPI documents: version 3 for each API version, version 2 for all of them together.

kubectl reads them to explain fields, to compute patches, and to learn that the server validates fields.
"""

from __future__ import annotations

import hashlib

from agentpool_devcluster.api.objects import Json
from agentpool_devcluster.api.openapi.schemas import Components
from agentpool_devcluster.api.registry import Registry, Resource
from agentpool_devcluster.api.store import encode

_PATCHES = (
    "application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml",
)  # fmt: skip
_STRATEGIC = "application/strategic-merge-patch+json"


def group_path(group: str, version: str) -> str:
    """Return the path of an API version in OpenAPI form."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


class Documents:
    """Documents of the current registry, made when first asked for."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._made: dict[str, bytes] = {}

    def index(self) -> bytes:
        """Return the answer to /openapi/v3."""
        paths: Json = {}
        for group, versions in self._registry.groups().items():
            for version in versions:
                path = group_path(group, version)
                names = sorted(found.plural for found in self._registry.in_version(group, version))
                digest = hashlib.sha256(f"{self._revision}{names}".encode()).hexdigest()[:32].upper()
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return encode({"paths": paths})

    def version_3(self, path: str) -> bytes | None:
        """Return the document of an API version, such as apis/apps/v1; None if unknown."""
        self._refresh()
        if path not in self._made:
            found = [
                (group, version)
                for group, versions in self._registry.groups().items()
                for version in versions
                if group_path(group, version) == path
            ]
            if not found:
                return None
            self._made[path] = encode(_version_3(self._registry.in_version(*found[0])))
        return self._made[path]

    def version_2(self) -> bytes:
        """Return the document of everything, in the old format."""
        self._refresh()
        if "v2" not in self._made:
            self._made["v2"] = encode(_version_2(list(self._registry.all())))
        return self._made["v2"]

    def _refresh(self) -> None:
        if self._revision != self._registry.revision:
            self._made.clear()
            self._revision = self._registry.revision


def _kind(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _component(components: Components, resource: Resource) -> Json:
    schema = resource.schema()
    if schema.reference:
        return components.reference(schema, [_kind(resource)])
    reversed_group = ".".join(reversed(resource.group.split(".")))
    return components.add(f"{reversed_group}.{resource.version}.{resource.kind}", schema, _kind(resource))


def _collection_path(resource: Resource) -> str:
    root = "/" + group_path(resource.group, resource.version)
    return f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"


def _patch_types(resource: Resource) -> tuple[str, ...]:
    return _PATCHES if resource.is_custom else (*_PATCHES, _STRATEGIC)


def _parameters() -> list[Json]:
    return [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]


def _version_3(resources: list[Resource]) -> Json:
    components = Components("#/components/schemas/")
    paths: Json = {}
    for resource in resources:
        reference = _component(components, resource)
        base = _collection_path(resource)
        paths[base] = _operations_3(resource, reference, ("create", "list"))
        paths[base + "/{name}"] = _operations_3(resource, reference, ("get", "update", "patch", "delete"))
        if resource.namespaced:
            root = "/" + group_path(resource.group, resource.version)
            paths[f"{root}/{resource.plural}"] = _operations_3(resource, reference, ("list",))
    info = {"title": "Kubernetes", "version": "v1.36.0-devcluster"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": components.found}}


_METHODS = {"create": "post", "list": "get", "get": "get", "update": "put", "patch": "patch", "delete": "delete"}
_ACTIONS = {"create": "post", "list": "list", "get": "get", "update": "put", "patch": "patch", "delete": "delete"}


def _operations_3(resource: Resource, reference: Json, verbs: tuple[str, ...]) -> Json:
    found: Json = {}
    for verb in verbs:
        if verb not in resource.verbs:
            continue
        content: Json = {"schema": reference}
        operation: Json = {
            "responses": {"200": {"description": "OK", "content": {"application/json": content}}},
            "x-kubernetes-action": _ACTIONS[verb],
            "x-kubernetes-group-version-kind": _kind(resource),
        }
        if verb in ("create", "update", "patch"):
            operation["parameters"] = _parameters()
            types = _patch_types(resource) if verb == "patch" else ("application/json", "application/yaml")
            body = {"type": "object"} if verb == "patch" else reference
            operation["requestBody"] = {"content": {media: {"schema": body} for media in types}}
        found[_METHODS[verb]] = operation
    return found


def _version_2(resources: list[Resource]) -> Json:
    components = Components("#/definitions/")
    paths: Json = {}
    for resource in resources:
        reference = _component(components, resource)
        base = _collection_path(resource)
        for path, verbs in ((base, ("create", "list")), (base + "/{name}", ("get", "update", "patch", "delete"))):
            paths[path] = {
                _METHODS[verb]: _operation_2(resource, reference, verb) for verb in verbs if verb in resource.verbs
            }
    info = {"title": "Kubernetes", "version": "v1.36.0-devcluster"}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": components.found}


def _operation_2(resource: Resource, reference: Json, verb: str) -> Json:
    operation: Json = {
        "responses": {"200": {"description": "OK", "schema": reference}},
        "produces": ["application/json", "application/yaml"],
        "x-kubernetes-action": _ACTIONS[verb],
        "x-kubernetes-group-version-kind": _kind(resource),
    }
    if verb in ("create", "update", "patch"):
        operation["consumes"] = list(_patch_types(resource)) if verb == "patch" else ["application/json"]
        operation["parameters"] = [
            {"name": name, "in": "query", "type": "string"} for name in ("dryRun", "fieldManager", "fieldValidation")
        ]
    return operation
