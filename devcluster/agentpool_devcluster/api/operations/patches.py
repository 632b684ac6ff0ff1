"""Patch an object: compute the new version from the old version, then store it like any update."""

from __future__ import annotations

from enum import Enum
from typing import Any

from agentpool_devcluster.api.apply.managers import apply_configuration, read_managers
from agentpool_devcluster.api.errors import StatusError, bad_request, conflict, not_found, unsupported_media_type
from agentpool_devcluster.api.objects import Json, clone, metadata
from agentpool_devcluster.api.operations.cluster import Cluster, WriteOptions, Written
from agentpool_devcluster.api.operations.intake import check_identity, clean_configuration
from agentpool_devcluster.api.operations.versions import shown_as
from agentpool_devcluster.api.operations.writes import create, finish
from agentpool_devcluster.api.patch.json_patch import json_patch
from agentpool_devcluster.api.patch.merge_patch import merge_patch
from agentpool_devcluster.api.patch.strategic import strategic_merge
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.schema.defaulting import normalise


class PatchType(Enum):
    """The patch formats, by content type."""

    JSON = "application/json-patch+json"  # a list of operations
    MERGE = "application/merge-patch+json"  # a partial object
    STRATEGIC = "application/strategic-merge-patch+json"  # a partial object; lists merge by key
    APPLY = "application/apply-patch+yaml"  # a configuration with ownership


def patched(resource: Resource, body: Json, patch: Any, kind: PatchType) -> Json:
    """Return an object patched in one of the three formats without ownership."""
    if kind is PatchType.JSON:
        found = json_patch(body, patch)
    elif kind is PatchType.MERGE:
        found = merge_patch(body, patch)
    elif resource.is_custom:
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{PatchType.JSON.value}, {PatchType.MERGE.value}, {PatchType.APPLY.value}"
        )
    else:
        found = strategic_merge(body, patch, resource.schema())
    if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
        raise bad_request("the patched object is no object with metadata any more")
    return found


def patch_object(
    cluster: Cluster,
    resource: Resource,
    namespace: str,
    name: str,
    *,
    patch: Any,
    kind: PatchType,
    options: WriteOptions,
) -> Written:
    """Patch an object; an apply creates a missing object."""
    if kind is PatchType.APPLY:
        return _apply(cluster, resource, namespace, name, patch=patch, options=options)
    old = cluster.read(resource, namespace, name)
    body = patched(resource, clone(shown_as(resource, old.body)), patch, kind)
    body = check_identity(resource, clone(body), namespace, name)
    return finish(cluster, resource, old, body, options=options)


def _apply(
    cluster: Cluster, resource: Resource, namespace: str, name: str, *, patch: Any, options: WriteOptions
) -> Written:
    config = _configuration(resource, patch, namespace, name)
    warnings = clean_configuration(resource, config, options)
    _own_part(resource, config, options.writer.subresource)
    old = cluster.store.get(resource.key(namespace, name))
    if old is None:
        if options.writer.subresource:
            raise not_found(resource.subject(name))
        if metadata(config).get("uid"):
            raise conflict(
                resource.subject(name), "uid mismatch: the provided object specified uid, and no object exists"
            )
    live = clone(shown_as(resource, old.body)) if old else _blank(resource, namespace, name)
    applied = apply_configuration(
        live, config, resource.schema(), options.writer, read_managers(live), force=options.force
    )
    body = applied.body
    if old is None:
        written = create(cluster, resource, namespace, body, options=options, managers=applied.managers)
    else:
        _expect_version(body, config)
        written = finish(cluster, resource, old, body, options=options, managers=applied.managers)
    return Written(
        stored=written.stored,
        created=written.created,
        deleted=written.deleted,
        warnings=(*warnings, *written.warnings),
    )


def _configuration(resource: Resource, patch: Any, namespace: str, name: str) -> Json:
    if not isinstance(patch, dict):
        raise bad_request("an apply patch is an object")
    for field in ("apiVersion", "kind"):
        if not patch.get(field):
            raise bad_request(f"invalid object type: /, Kind=: an apply patch must name its {field}")
    config = check_identity(resource, clone(patch), namespace, name)
    if "managedFields" in config["metadata"]:
        raise StatusError(400, "BadRequest", "metadata.managedFields must be nil")
    if not resource.is_custom:
        normalise(config, resource.schema())
    return config


def _own_part(resource: Resource, config: Json, subresource: str) -> None:
    """Keep only the part of a configuration that its subresource may write."""
    if subresource == "status":
        for field in config.keys() - {"apiVersion", "kind", "metadata", "status"}:
            del config[field]
        kept = ("name", "namespace", "uid", "resourceVersion")
        config["metadata"] = {key: value for key, value in config["metadata"].items() if key in kept}
    elif resource.has_status():
        config.pop("status", None)


def _blank(resource: Resource, namespace: str, name: str) -> Json:
    meta = {"name": name, "namespace": namespace} if resource.namespaced else {"name": name}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}


def _expect_version(body: Json, config: Json) -> None:
    """Bind an apply to a resourceVersion only if its configuration has a resourceVersion."""
    wanted = metadata(config).get("resourceVersion")
    if wanted:
        body["metadata"]["resourceVersion"] = wanted
    else:
        body["metadata"].pop("resourceVersion", None)
