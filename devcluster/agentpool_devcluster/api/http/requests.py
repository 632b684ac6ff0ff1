"""A request to the resource API: target, user, query, body, and write options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web

from agentpool_devcluster.api.access.tokens import User
from agentpool_devcluster.api.apply.managers import Writer
from agentpool_devcluster.api.errors import (
    StatusError,
    bad_request,
    method_not_allowed,
    no_such_path,
    not_implemented,
    not_served,
    unsupported_media_type,
)
from agentpool_devcluster.api.http.bodies import decode, duplicates, media_type_of
from agentpool_devcluster.api.http.negotiation import Form, Shape, choose
from agentpool_devcluster.api.http.paths import Target, is_true
from agentpool_devcluster.api.operations.cluster import Cluster, FieldValidation, WriteOptions
from agentpool_devcluster.api.operations.patches import PatchType
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.schema.node import Schema
from agentpool_devcluster.api.selectors import Selector
from agentpool_devcluster.api.selectors import parse as parse_selector
from agentpool_devcluster.api.tables.printing import IncludeObject
from agentpool_devcluster.api.wire.protobuf import MEDIA_TYPE, decode_protobuf

_VALIDATIONS = ("Strict", "Warn", "Ignore")
_INCLUDES = ("None", "Metadata", "Object")
# Subresources of a Kubernetes server that the devcluster lacks: refused by name, so the user knows the cause.
_NOT_HERE = ("exec", "attach", "portforward", "proxy", "ephemeralcontainers", "resize", "approval")
_MAX_MANAGER = 128  # characters of a field manager's name


@dataclass(slots=True, kw_only=True)
class ApiRequest:
    """A request to the resource API."""

    http: web.Request  # the aiohttp request
    cluster: Cluster  # the served cluster
    user: User  # the authenticated user
    target: Target  # the target of the path
    verb: str  # the RBAC verb
    resource: Resource  # the resource of the path

    @property
    def namespace(self) -> str:
        """The namespace of the path; empty for cluster-scoped resources."""
        return self.target.namespace or ""

    def query(self, name: str) -> str:
        """Return a query parameter; empty if absent."""
        return self.http.query.get(name, "")

    def form(self, *shapes: Shape) -> Form:
        """Choose how the answer is written."""
        return choose(self.http.headers.get("Accept", ""), shapes)

    def selector(self) -> Selector:
        """Return the selector of the query."""
        return parse_selector(self.resource, self.query("labelSelector"), self.query("fieldSelector"))

    def include(self) -> IncludeObject:
        """Return the part of an object that table rows include."""
        found = self.query("includeObject") or "Metadata"
        if found not in _INCLUDES:
            raise bad_request(f"includeObject must be one of {', '.join(_INCLUDES)}, got {found!r}")
        return cast("IncludeObject", found)

    def dry_run(self) -> bool:
        """Return whether nothing is to be stored."""
        found = self.http.query.getall("dryRun", [])
        if any(value not in ("", "All") for value in found):
            raise bad_request(f"dryRun takes the value All, got {found!r}")
        return "All" in found

    def would_create(self) -> bool:
        """Return whether a server-side apply would create its object, which requires the create verb too."""
        if self.verb != "patch" or self.target.subresource:
            return False
        if media_type_of(self.http.headers.get("Content-Type", "")) != PatchType.APPLY.value:
            return False
        return self.cluster.store.get(self.resource.key(self.namespace, self.target.name)) is None

    async def body(self) -> Any:
        """Return the decoded body; None if empty."""
        text, content_type = await self.http.read(), self.http.headers.get("Content-Type", "")
        if text and media_type_of(content_type) == MEDIA_TYPE:
            return decode_protobuf(text, self._builtin_schema)
        return decode(text, content_type)

    def _builtin_schema(self, api_version: str, kind: str) -> Schema | None:
        found = self.cluster.registry.find_kind(api_version, kind)
        return None if found is None or found.is_custom else found.schema()

    async def options(self, *, subresource: str = "") -> WriteOptions:
        """Return the options of the requested write."""
        validation = self.query("fieldValidation") or "Warn"
        if validation not in _VALIDATIONS:
            raise bad_request(f"fieldValidation must be one of {', '.join(_VALIDATIONS)}, got {validation!r}")
        repeated: tuple[str, ...] = ()
        if self.query("fieldValidation") in ("Strict", "Warn"):
            repeated = duplicates(await self.http.read(), self.http.headers.get("Content-Type", ""))
        return WriteOptions(
            writer=Writer(name=self._manager(), api_version=self.resource.api_version, subresource=subresource),
            dry_run=self.dry_run(),
            validation=cast("FieldValidation", validation),
            force=is_true(self.query("force")),
            duplicates=repeated,
        )

    def _manager(self) -> str:
        named = self.query("fieldManager")
        if len(named) > _MAX_MANAGER:
            raise bad_request(f"fieldManager may have at most {_MAX_MANAGER} characters")
        agent = self.http.headers.get("User-Agent", "unknown")
        return named or agent.partition("/")[0][:_MAX_MANAGER]

    def patch_type(self) -> PatchType:
        """Return the format of a patch. Raises a 415 refusal for unknown formats."""
        media_type = media_type_of(self.http.headers.get("Content-Type", ""))
        try:
            kind = PatchType(media_type)
        except ValueError:
            accepted = ", ".join(found.value for found in PatchType)
            raise unsupported_media_type(
                f"the body of the request was in an unknown format ({media_type}) - accepted media types "
                f"include: {accepted}"
            ) from None
        if kind is PatchType.APPLY and not self.query("fieldManager"):
            raise bad_request(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        if kind is not PatchType.APPLY and self.query("force"):
            raise bad_request(
                "PatchOptions.meta.k8s.io is invalid: force: Forbidden: may not be specified for non-apply patch"
            )
        return kind


def find_resource(cluster: Cluster, target: Target, verb: str) -> Resource:
    """Return the resource of a path. Raises 404 or 405 refusals."""
    resource = cluster.registry.find(target.group, target.version, target.plural)
    if resource is None:
        raise _unknown(cluster, target)
    if target.subresource and target.subresource not in resource.subresources:
        if target.subresource in _NOT_HERE:
            raise not_implemented(f"the {target.subresource} subresource of {resource.plural}")
        raise no_such_path()
    if target.namespace is not None and not resource.namespaced:
        raise no_such_path()
    if not target.subresource and verb not in resource.verbs:
        raise method_not_allowed(resource.subject(target.name), verb)
    if resource.namespaced and target.namespace is None and (target.name or verb in ("create", "deletecollection")):
        raise method_not_allowed(resource.subject(target.name), f"{verb} without a namespace")
    return resource


def _unknown(cluster: Cluster, target: Target) -> StatusError:
    """Return the refusal of a resource that is not served; a different version of it is named."""
    versions = sorted(
        resource.version
        for resource in cluster.registry.all()
        if (resource.group, resource.plural) == (target.group, target.plural)
    )
    if not versions:
        return no_such_path()
    group = f"{target.group}/" if target.group else ""
    return not_served(f"{target.plural} as {group}{target.version}, only as {group}{', '.join(versions)}")
