"""The in-memory store: the objects of every resource, their history, and the listeners.

Every write gets the next resourceVersion. Each collection keeps its last changes, so that a watch can start in the past
and a chunked list can continue from a consistent state; older changes are gone (410). Objects are immutable once stored
and are serialised at most once. Watch streams take over from `Listener`.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agentpool_devcluster.api.objects import Json, name_of, namespace_of, owners_of

HISTORY_CHANGES = 20_000  # changes kept per collection
ChangeKind = Literal["ADDED", "MODIFIED", "DELETED"]


class CollectionKey(NamedTuple):
    """Key of a collection; versions of an API group share a collection."""

    group: str
    plural: str


class ObjectKey(NamedTuple):
    """Key of an object in the store."""

    collection: CollectionKey
    namespace: str  # empty for cluster-scoped objects
    name: str


class Stored:
    """A version of an object, with its JSON text made on first access."""

    __slots__ = ("_text", "body", "version")

    def __init__(self, body: Json, version: int) -> None:
        self.body = body
        self.version = version
        self._text: bytes | None = None

    @property
    def text(self) -> bytes:
        """The object as JSON."""
        if self._text is None:
            self._text = encode(self.body)
        return self._text


@dataclass(frozen=True, slots=True)
class Change:
    """A write and the result."""

    kind: ChangeKind
    version: int  # resourceVersion of the write
    stored: Stored  # the object after the write; for a deletion, its last version
    previous: Stored | None  # the object before the write; None for a creation


Listener = Callable[[CollectionKey, Change], None]


def encode(value: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Collection:
    """The objects of a resource, by namespace and name, and their recent changes."""

    def __init__(self, key: CollectionKey, version: int, history: int) -> None:
        self.key = key
        self.floor = version  # changes up to here are forgotten
        self.changes: deque[Change] = deque()
        self.listeners: list[Callable[[Change], None]] = []
        self._history = history
        self._namespaces: dict[str, dict[str, Stored]] = {}

    def get(self, namespace: str, name: str) -> Stored | None:
        """Return the object, or None."""
        return self._namespaces.get(namespace, {}).get(name)

    def items(self, namespace: str | None = None) -> list[tuple[str, str, Stored]]:
        """Return (namespace, name, object) in order; namespace None means all."""
        spaces = sorted(self._namespaces) if namespace is None else [namespace]
        return [
            (space, name, found) for space in spaces for name, found in sorted(self._namespaces.get(space, {}).items())
        ]

    def count(self) -> int:
        """Return the number of objects."""
        return sum(len(space) for space in self._namespaces.values())

    def items_at(self, version: int, namespace: str | None = None) -> list[tuple[str, str, Stored]] | None:
        """Return the objects as they were at a resourceVersion; None if that is forgotten."""
        if version < self.floor:
            return None
        past = {(space, name): found for space, name, found in self.items(namespace)}
        for change in reversed(self.changes):
            if change.version <= version:
                break
            place = (namespace_of(change.stored.body), name_of(change.stored.body))
            if namespace is not None and place[0] != namespace:
                continue
            if change.previous is None:
                past.pop(place, None)
            else:
                past[place] = change.previous
        return [(space, name, found) for (space, name), found in sorted(past.items())]

    def since(self, version: int) -> list[Change] | None:
        """Return the changes after a resourceVersion; None if some of them are forgotten."""
        if version < self.floor:
            return None
        found: list[Change] = []
        for change in reversed(self.changes):
            if change.version <= version:
                break
            found.append(change)
        found.reverse()
        return found

    def record(self, change: Change) -> None:
        """Apply a change to the collection and notify its listeners."""
        body = change.stored.body
        space = self._namespaces.setdefault(namespace_of(body), {})
        if change.kind == "DELETED":
            space.pop(name_of(body), None)
            if not space:
                del self._namespaces[namespace_of(body)]
        else:
            space[name_of(body)] = change.stored
        self.changes.append(change)
        if len(self.changes) > self._history:
            self.floor = self.changes.popleft().version
        for listener in tuple(self.listeners):
            listener(change)


class Store:
    """All collections and the counter of resourceVersions."""

    def __init__(self, *, history: int = HISTORY_CHANGES) -> None:
        # Starting from the clock makes versions of an earlier run old rather than from the future, so a client that
        # outlives a restart gets 410 Gone and lists again.
        self.version = time.time_ns() // 1_000_000
        self._first_version = self.version
        self._history = history
        self._collections: dict[CollectionKey, Collection] = {}
        self._dependents: dict[str, set[ObjectKey]] = {}  # owner uid -> dependents
        self._listeners: list[Listener] = []

    def collection(self, key: CollectionKey) -> Collection:
        """Return the collection; empty if never written to."""
        found = self._collections.get(key)
        if found is None:
            found = self._collections[key] = Collection(key, self._first_version, self._history)
        return found

    def collections(self) -> Iterator[Collection]:
        """Yield every collection that was ever asked for."""
        yield from tuple(self._collections.values())

    def listen(self, listener: Listener) -> None:
        """Call the listener after every change of any collection, in order, from the writer's turn."""
        self._listeners.append(listener)

    def get(self, key: ObjectKey) -> Stored | None:
        """Return the object, or None."""
        return self.collection(key.collection).get(key.namespace, key.name)

    def dependents(self, uid: str) -> list[ObjectKey]:
        """Return the objects that name this uid among their owners, in order."""
        return sorted(self._dependents.get(uid, ()))

    def put(self, key: ObjectKey, body: Json) -> Stored:
        """Store a new version of the object (sets the body's resourceVersion) and notify listeners."""
        previous = self.get(key)
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        stored = Stored(body, self.version)
        kind: ChangeKind = "ADDED" if previous is None else "MODIFIED"
        self._announce(key, Change(kind, self.version, stored, previous))
        return stored

    def remove(self, key: ObjectKey) -> Stored | None:
        """Remove the object and notify listeners; None if the object does not exist."""
        previous = self.get(key)
        if previous is None:
            return None
        self.version += 1
        body = {**previous.body, "metadata": {**previous.body["metadata"]}}
        body["metadata"]["resourceVersion"] = str(self.version)
        last = Stored(body, self.version)
        self._announce(key, Change("DELETED", self.version, last, previous))
        return last

    def _announce(self, key: ObjectKey, change: Change) -> None:
        self._index_owners(key, change)
        self.collection(key.collection).record(change)
        for listener in self._listeners:
            listener(key.collection, change)

    def _index_owners(self, key: ObjectKey, change: Change) -> None:
        before = owners_of(change.previous.body) if change.previous else []
        after = [] if change.kind == "DELETED" else owners_of(change.stored.body)
        if before == after:
            return
        for owner in before:
            uid = str(owner.get("uid", ""))
            self._dependents.get(uid, set()).discard(key)
            if not self._dependents.get(uid):
                self._dependents.pop(uid, None)
        for owner in after:
            self._dependents.setdefault(str(owner.get("uid", "")), set()).add(key)
