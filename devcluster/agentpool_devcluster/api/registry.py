"""The served resources: names, versions, schemas, subresources and columns.

Built-in resources are entered at the start (`builtins`); custom resources come and go with their
CustomResourceDefinition (`crds`). Discovery, OpenAPI and routing all read this registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentpool_devcluster.api.errors import Subject
from agentpool_devcluster.api.schema.node import Schema
from agentpool_devcluster.api.store import CollectionKey, ObjectKey

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePaths:
    """Paths of the fields that the scale subresource shows; paths start with a dot."""

    spec: str = ".spec.replicas"  # wanted replicas
    status: str = ".status.replicas"  # actual replicas
    selector: str | None = None  # label selector as text in the status; None: spec.selector of the object


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A printer column of a custom resource."""

    name: str  # heading
    json_path: str  # where the value stands, starting with a dot
    type: str = "string"  # string, integer, number, boolean, date
    format: str = ""  # OpenAPI format
    description: str = ""  # for clients that show descriptions
    priority: int = 0  # above 0: only with -o wide


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A version of a resource, as in discovery."""

    group: str  # API group, empty for core
    version: str  # API version, such as v1alpha1
    plural: str  # name in paths
    singular: str  # name kubectl also accepts
    kind: str  # name in objects
    namespaced: bool = True  # False: cluster-scoped
    short_names: tuple[str, ...] = ()  # abbreviations kubectl accepts
    categories: tuple[str, ...] = ()  # groups of resources, such as all
    verbs: tuple[str, ...] = ALL_VERBS  # supported verbs
    subresources: frozenset[str] = frozenset()  # status, scale, log, binding…
    schema: Callable[[], Schema] = field(default=lambda: Schema(type="object", preserve_unknown=True))
    storage: CollectionKey | None = None  # collection that holds the objects; None: named like the resource
    storage_version: str = ""  # apiVersion of stored objects; empty: this version
    is_custom: bool = False  # defined by a CustomResourceDefinition
    has_generation: bool = False  # metadata.generation counts changes of the spec
    scale: ScalePaths | None = None  # None: no scale subresource
    columns: tuple[Column, ...] | None = None  # printer columns of a custom resource; None: built-in columns
    selectable_fields: tuple[str, ...] = ()  # extra fields for field selectors, such as spec.color
    deprecation: str = ""  # warning sent with every answer; empty: none

    @property
    def api_version(self) -> str:
        """The apiVersion of objects of this resource."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def stored_as(self) -> str:
        """The apiVersion under which objects are stored."""
        return self.storage_version or self.api_version

    @property
    def collection(self) -> CollectionKey:
        """The collection that holds the objects."""
        return self.storage or CollectionKey(self.group, self.plural)

    def key(self, namespace: str, name: str) -> ObjectKey:
        """Return the key of an object."""
        return ObjectKey(self.collection, namespace if self.namespaced else "", name)

    def subject(self, name: str = "", uid: str = "") -> Subject:
        """Return the subject of a refusal about an object: group and plural."""
        return Subject(group=self.group, kind=self.plural, name=name, uid=uid)

    def invalid_subject(self, name: str = "") -> Subject:
        """Return the subject of a refusal of an invalid object: group and Kind."""
        return Subject(group=self.group, kind=self.kind, name=name)

    def has_status(self) -> bool:
        """Return whether spec and status are written separately."""
        return "status" in self.subresources


class Registry:
    """The resources that are served at this moment."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self.revision = 0  # grows with every change, for caches
        self.on_removal: list[Callable[[], None]] = []  # called when resources are served no more

    def add(self, resource: Resource) -> None:
        """Serve a resource; replace an older definition."""
        self._resources[resource.group, resource.version, resource.plural] = resource
        self.revision += 1

    def remove(self, group: str, plural: str) -> None:
        """Stop serving all versions of a resource."""
        for key in [key for key in self._resources if (key[0], key[2]) == (group, plural)]:
            del self._resources[key]
        self.revision += 1
        for listener in self.on_removal:
            listener()

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource; None if not served."""
        return self._resources.get((group, version, plural))

    def serves(self, resource: Resource) -> bool:
        """Return whether exactly this definition of the resource is still served."""
        return self.find(resource.group, resource.version, resource.plural) is resource

    def find_kind(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource of an object's apiVersion and kind, or None."""
        group, _, version = api_version.rpartition("/")
        for resource in self._resources.values():
            if (resource.group, resource.version, resource.kind) == (group, version, kind):
                return resource
        return None

    def for_collection(self, key: Any) -> Resource | None:
        """Return a resource that reads this collection, preferring the stored version."""
        found = [resource for resource in self._resources.values() if resource.collection == key]
        exact = [resource for resource in found if resource.api_version == resource.stored_as]
        return next(iter(exact or found), None)

    def owners_kind(self, group: str, kind: str) -> Resource | None:
        """Return some version of the resource of a group and kind, or None."""
        for resource in self._resources.values():
            if (resource.group, resource.kind) == (group, kind):
                return resource
        return None

    def all(self) -> Iterator[Resource]:
        """Yield every resource in order of addition."""
        yield from tuple(self._resources.values())

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Return the API groups with their versions, the preferred version first."""
        found: dict[str, list[str]] = {}
        for resource in self._resources.values():
            versions = found.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return {group: tuple(sorted(versions, key=version_rank)) for group, versions in found.items()}

    def in_version(self, group: str, version: str) -> list[Resource]:
        """Return the resources of an API version."""
        return [found for found in self._resources.values() if (found.group, found.version) == (group, version)]


def version_rank(version: str) -> tuple[int, int, int]:
    """Order versions as Kubernetes does: stable before beta before alpha, newest first."""
    digits = version.removeprefix("v")
    for rank, word in ((1, "beta"), (2, "alpha")):
        major, found, minor = digits.partition(word)
        if found:
            return (rank, -_number(major), -_number(minor))
    return (0, -_number(digits), 0)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
