"""Garbage collection of dependents, terminating namespaces and definitions.

Listens to the store and processes changes on the next turn of the event loop, until nothing is left to do: every step
is an ordinary write, so finalizers and grace periods are honoured.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from agentpool_devcluster.api.definitions import CLEANUP, DEFINITIONS
from agentpool_devcluster.api.errors import StatusError
from agentpool_devcluster.api.objects import Json, clone, dig, is_terminating, metadata, owners_of, uid_of
from agentpool_devcluster.api.operations.cluster import NAMESPACES, Cluster
from agentpool_devcluster.api.operations.deletion import FOREGROUND, ORPHAN, DeleteOptions, delete
from agentpool_devcluster.api.store import Change, CollectionKey, ObjectKey, Stored

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 2.0  # time for a missing owner, or for its kind, to appear before the next look at its dependent


class GarbageCollector:
    """Deletes objects without an owner."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dirty: dict[ObjectKey, None] = {}  # objects to look at, in order
        self._lost: dict[str, None] = {}  # uids of owners that are gone
        self._wake = asyncio.Event()
        cluster.store.listen(self._on_change)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self.run_once()

    def run_once(self) -> None:
        """Do everything that there is to do now."""
        while self._dirty or self._lost:
            if self._lost:
                uid = next(iter(self._lost))
                del self._lost[uid]
                for key in self._cluster.store.dependents(uid):
                    self._collect(key, uid)
            else:
                key = next(iter(self._dirty))
                del self._dirty[key]
                self._settle(key)

    def _on_change(self, collection: CollectionKey, change: Change) -> None:
        body = change.stored.body
        key = ObjectKey(collection, str(metadata(body).get("namespace") or ""), str(metadata(body).get("name")))
        if change.kind == "DELETED":
            self._lost[uid_of(body)] = None
            self._revisit_containers(key)
            for owner in owners_of(body):
                self._revisit_owner(key.namespace, owner)
        elif is_terminating(body):
            self._dirty[key] = None
        elif change.previous is None and owners_of(body):
            self._expect_owner(key)
        else:
            return
        self._wake.set()

    def _revisit_containers(self, key: ObjectKey) -> None:
        """Check the namespace or definition that may have waited for the removed object."""
        if key.namespace:
            self._dirty[ObjectKey(NAMESPACES, "", key.namespace)] = None
        self._dirty[ObjectKey(DEFINITIONS, "", f"{key.collection.plural}.{key.collection.group}")] = None

    def _revisit_owner(self, namespace: str, owner: Json) -> None:
        found = self._owner_key(namespace, owner)
        if found is not None:
            self._dirty[found] = None

    def _expect_owner(self, key: ObjectKey) -> None:
        """Collect a dependent of a missing owner, after a moment in which the owner may appear."""
        stored = self._cluster.store.get(key)
        if stored is None:
            return
        owners = owners_of(stored.body)
        if not all(self._is_served(owner) and self._exists(key.namespace, owner) for owner in owners):
            self._revisit_later(key)

    def _revisit_later(self, key: ObjectKey) -> None:
        with contextlib.suppress(RuntimeError):  # no loop: a test calls run_once
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._revisit, key)

    def _revisit(self, key: ObjectKey) -> None:
        """Collect a dependent of a missing owner; look again while the kind of an owner is not served."""
        stored = self._cluster.store.get(key)
        if stored is None:
            return
        owners = owners_of(stored.body)
        for owner in owners:
            if not self._exists(key.namespace, owner):
                self._lost[str(owner.get("uid"))] = None
        self._wake.set()
        if not all(self._is_served(owner) for owner in owners):
            self._revisit_later(key)

    def _owner_key(self, namespace: str, owner: Json) -> ObjectKey | None:
        group = str(owner.get("apiVersion") or "").rpartition("/")[0]
        resource = self._cluster.registry.owners_kind(group, str(owner.get("kind") or ""))
        return None if resource is None else resource.key(namespace, str(owner.get("name") or ""))

    def _is_served(self, owner: Json) -> bool:
        return self._owner_key("", owner) is not None

    def _exists(self, namespace: str, owner: Json) -> bool:
        key = self._owner_key(namespace, owner)
        if key is None:
            return True  # not served here: the owner's absence cannot be determined
        found = self._cluster.store.get(key)
        return found is not None and uid_of(found.body) == owner.get("uid")

    def _collect(self, key: ObjectKey, lost: str) -> None:
        """Delete a dependent without remaining owners, or remove the lost owners from its list.

        A lost uid is gone for certain, even if its kind is no longer served.
        """
        stored = self._cluster.store.get(key)
        if stored is None:
            return
        owners = owners_of(stored.body)
        left = [owner for owner in owners if owner.get("uid") != lost and self._exists(key.namespace, owner)]
        if len(left) == len(owners):
            return
        if left:
            self._write(key, stored, ownerReferences=left)
        else:
            self._delete(key, DeleteOptions(propagation="Background", uid=uid_of(stored.body)))

    def _settle(self, key: ObjectKey) -> None:
        """Advance the deletion of an object."""
        stored = self._cluster.store.get(key)
        if stored is None or not is_terminating(stored.body):
            return
        if key.collection == NAMESPACES:
            self._settle_namespace(key, stored)
        elif key.collection == DEFINITIONS:
            self._settle_definition(key, stored)
        finalizers = metadata(stored.body).get("finalizers") or []
        if ORPHAN in finalizers:
            self._orphan(key, stored)
        elif FOREGROUND in finalizers:
            self._foreground(key, stored)

    def _orphan(self, key: ObjectKey, stored: Stored) -> None:
        uid = uid_of(stored.body)
        for dependent in self._cluster.store.dependents(uid):
            found = self._cluster.store.get(dependent)
            if found is not None:
                kept = [owner for owner in owners_of(found.body) if owner.get("uid") != uid]
                self._write(dependent, found, ownerReferences=kept)
        self._drop_finalizer(key, ORPHAN)

    def _foreground(self, key: ObjectKey, stored: Stored) -> None:
        uid, waiting = uid_of(stored.body), False
        for dependent in self._cluster.store.dependents(uid):
            found = self._cluster.store.get(dependent)
            if found is None:
                continue
            others = [
                owner for owner in owners_of(found.body)
                if owner.get("uid") != uid and self._exists(dependent.namespace, owner)
            ]  # fmt: skip
            if others:
                self._write(dependent, found, ownerReferences=others)
                continue
            blocks = any(owner.get("uid") == uid and owner.get("blockOwnerDeletion") for owner in owners_of(found.body))
            waiting = waiting or blocks
            if not is_terminating(found.body):
                self._delete(dependent, DeleteOptions(propagation="Foreground", uid=uid_of(found.body)))
        if not waiting or not self._blocked(uid):
            self._drop_finalizer(key, FOREGROUND)

    def _blocked(self, uid: str) -> bool:
        found = (self._cluster.store.get(key) for key in self._cluster.store.dependents(uid))
        return any(
            owner.get("uid") == uid and owner.get("blockOwnerDeletion")
            for stored in found
            if stored is not None
            for owner in owners_of(stored.body)
        )

    def _settle_namespace(self, key: ObjectKey, stored: Stored) -> None:
        left = False
        for content in list(self._contents(key.name)):
            found = self._cluster.store.get(content)
            if found is not None and not is_terminating(found.body):
                self._delete(content, DeleteOptions(propagation="Background"))
            left = left or self._cluster.store.get(content) is not None
        if left:
            return
        body: Json = clone(stored.body)
        if dig(body, "spec", "finalizers"):
            body["spec"]["finalizers"] = []
            self._cluster.store.put(key, body)
        if not metadata(body).get("finalizers"):
            self._cluster.store.remove(key)

    def _contents(self, namespace: str) -> Iterator[ObjectKey]:
        for collection in self._cluster.store.collections():
            for space, name, _ in collection.items(namespace):
                yield ObjectKey(collection.key, space, name)

    def _settle_definition(self, key: ObjectKey, stored: Stored) -> None:
        group, plural = str(dig(stored.body, "spec", "group")), str(dig(stored.body, "spec", "names", "plural"))
        collection = CollectionKey(group, plural)
        for space, name, found in self._cluster.store.collection(collection).items():
            if not is_terminating(found.body):
                self._delete(ObjectKey(collection, space, name), DeleteOptions(propagation="Background"))
        if not self._cluster.store.collection(collection).count():
            self._drop_finalizer(key, CLEANUP)

    def _delete(self, key: ObjectKey, options: DeleteOptions) -> None:
        resource = self._cluster.registry.for_collection(key.collection)
        if resource is None:
            self._cluster.store.remove(key)
            return
        try:
            delete(self._cluster, resource, key.namespace, key.name, options)
        except StatusError as error:
            _log.debug("garbage collection leaves %s/%s: %s", key.namespace, key.name, error)

    def _write(self, key: ObjectKey, stored: Stored, *, ownerReferences: list[Json]) -> None:  # noqa: N803
        body: Json = clone(stored.body)
        if ownerReferences:
            body["metadata"]["ownerReferences"] = ownerReferences
        else:
            body["metadata"].pop("ownerReferences", None)
        self._cluster.store.put(key, body)

    def _drop_finalizer(self, key: ObjectKey, name: str) -> None:
        stored = self._cluster.store.get(key)
        if stored is None:
            return
        body: Json = clone(stored.body)
        left = [item for item in metadata(body).get("finalizers") or [] if item != name]
        if left == (metadata(body).get("finalizers") or []):
            return
        if left:
            body["metadata"]["finalizers"] = left
            self._cluster.store.put(key, body)
            return
        body["metadata"].pop("finalizers", None)
        self._cluster.store.put(key, body)
        if not metadata(body).get("deletionGracePeriodSeconds"):
            self._cluster.store.remove(key)
