"""A local copy of one collection, kept fresh by list and watch.

The informer lists, then watches from that version; a broken watch resumes from the last version, an expired watch lists
again and reports the difference. Readers get the cached objects themselves and must not change them. Subscribers are
called for every change, in order, on the event loop, and pass keys on to work queues.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_devcluster.kube.errors import ExpiredError, KubeError
from agentpool_devcluster.kube.objects import KubeObject, ObjectKey, key_of

if TYPE_CHECKING:
    from agentpool_devcluster.kube.client import KubeClient
    from agentpool_devcluster.kube.resources import Resource

_log = logging.getLogger(__name__)

WATCH_SECONDS = 300  # each watch ends after about this long, to bound staleness
FIRST_RETRY_SECONDS = 0.05
LONGEST_RETRY_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change of one object."""

    old: KubeObject | None  # before the change; None for a new object
    new: KubeObject | None  # after the change; None for a removed object

    @property
    def current(self) -> KubeObject:
        """Return the newest state: the present state, or the last state before removal."""
        form = self.new if self.new is not None else self.old
        if form is None:
            raise ValueError("a change of nothing into nothing")
        return form


Subscriber = Callable[[Change], None]


class Informer:
    """The cache of one collection. `run` keeps it fresh until cancelled."""

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        namespace: str | None = None,
        *,
        fields: str = "",
        labels: str = "",
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._fields = fields
        self._labels = labels
        self._objects: dict[ObjectKey, KubeObject] = {}
        self._subscribers: list[Subscriber] = []
        self._synced = asyncio.Event()
        self._version = ""

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` for every later change."""
        self._subscribers.append(subscriber)

    async def synced(self) -> None:
        """Wait for the first list."""
        await self._synced.wait()

    def get(self, key: ObjectKey) -> KubeObject | None:
        """Return the cached object; None if the collection has no such object."""
        return self._objects.get(key)

    def all(self) -> Iterable[KubeObject]:
        """Every cached object."""
        return self._objects.values()

    def in_namespace(self, namespace: str) -> list[KubeObject]:
        """Return the cached objects of one namespace."""
        return [obj for key, obj in self._objects.items() if key.namespace == namespace]

    async def run(self) -> None:
        """Keep the copy fresh until cancelled."""
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                delay = FIRST_RETRY_SECONDS
            except ExpiredError:
                self._version = ""
            except KubeError as error:
                _log.debug("watching %s: %s; again in %.2f s", self._resource.plural, error, delay)
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries, guards nothing
                delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    async def _list(self) -> None:
        answer = await self._client.list(self._resource, self._namespace, labels=self._labels, fields=self._fields)
        fresh = {key_of(obj): obj for obj in answer.get("items") or ()}
        for key in [key for key in self._objects if key not in fresh]:
            self._remove(key)
        for obj in fresh.values():
            self._store(obj)
        self._version = str(answer["metadata"].get("resourceVersion") or "0")
        self._synced.set()

    async def _watch(self) -> None:
        seconds = int(WATCH_SECONDS * random.uniform(1, 1.2))  # noqa: S311 - spreads load, guards nothing
        events = self._client.watch(
            self._resource,
            self._namespace,
            since=self._version,
            timeout_seconds=seconds,
            labels=self._labels,
            fields=self._fields,
        )
        async for event in events:
            obj = event["object"]
            match event["type"]:
                case "ADDED" | "MODIFIED":
                    self._store(obj)
                case "DELETED":
                    self._remove(key_of(obj), obj)
                case _:
                    pass  # BOOKMARK: only the version matters
            self._version = str(obj["metadata"]["resourceVersion"])

    def _store(self, obj: KubeObject) -> None:
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None and _version(old) == _version(obj):
            return
        self._objects[key] = obj
        if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
            self._report(Change(old=old, new=None))  # replaced by an object of the same name during a gap
            old = None
        self._report(Change(old=old, new=obj))

    def _remove(self, key: ObjectKey, last: KubeObject | None = None) -> None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._report(Change(old=last or old, new=None))

    def _report(self, change: Change) -> None:
        for subscriber in self._subscribers:
            subscriber(change)


def _version(obj: KubeObject) -> str:
    return str(obj["metadata"].get("resourceVersion") or "")
