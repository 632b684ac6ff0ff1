"""The state behind the API server: the store, the registry of resources, and the admission rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agentpool_devcluster.api.apply.managers import Writer
from agentpool_devcluster.api.errors import Subject, forbidden, not_found
from agentpool_devcluster.api.objects import is_terminating
from agentpool_devcluster.api.registry import Registry, Resource
from agentpool_devcluster.api.store import CollectionKey, ObjectKey, Store, Stored

NAMESPACES = CollectionKey("", "namespaces")
FieldValidation = Literal["Strict", "Warn", "Ignore"]


@dataclass(slots=True)
class Cluster:
    """Everything that operations work on."""

    store: Store = field(default_factory=Store)
    registry: Registry = field(default_factory=Registry)

    def read(self, resource: Resource, namespace: str, name: str) -> Stored:
        """Return an object. Raises the 404 refusal if there is none."""
        found = self.store.get(resource.key(namespace, name))
        if found is None:
            raise not_found(resource.subject(name))
        return found

    def check_namespace(self, resource: Resource, namespace: str) -> None:
        """Raise a refusal unless objects may be created in the namespace."""
        if not resource.namespaced:
            return
        found = self.store.get(ObjectKey(NAMESPACES, "", namespace))
        if found is None:
            raise not_found(Subject(group="", kind="namespaces", name=namespace))
        if is_terminating(found.body):
            raise forbidden(
                resource.subject(),
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a write is to be done, from the query of the request."""

    writer: Writer  # owner of the written fields
    dry_run: bool = False  # do everything except store
    validation: FieldValidation = "Warn"  # treatment of unknown fields
    force: bool = False  # apply: take over conflicting fields
    duplicates: tuple[str, ...] = ()  # fields that the body gives twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The outcome of a write."""

    stored: Stored  # the present object
    created: bool = False  # the object is new
    deleted: bool = False  # the write let a pending deletion finish
    warnings: tuple[str, ...] = ()  # for the client's Warning headers
