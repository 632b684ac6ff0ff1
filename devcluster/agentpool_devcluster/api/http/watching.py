"""Watch streams: the changes of a collection, filtered and framed.

A stream listens to its collection and buffers unwritten changes. All buffered changes go out in one write. The JSON
text of an object is made once for all streams. A stream ends with the definition of its resource, even if a new
definition takes its place, as on a Kubernetes server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from aiohttp import web

from agentpool_devcluster.api.errors import StatusError, expired
from agentpool_devcluster.api.http.negotiation import Form
from agentpool_devcluster.api.http.rendering import object_text
from agentpool_devcluster.api.objects import namespace_of
from agentpool_devcluster.api.registry import Registry, Resource
from agentpool_devcluster.api.selectors import Selector
from agentpool_devcluster.api.store import Change, Store, Stored, encode
from agentpool_devcluster.api.tables.printing import IncludeObject

BOOKMARK_SECONDS = 60.0  # interval of bookmarks on an idle stream
_MAX_PENDING = 100_000  # buffered frames before a slow client is disconnected
_INITIAL_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """Options of a watch."""

    resource: Resource  # version in which objects are shown
    namespace: str | None  # None: all
    selector: Selector  # which objects
    version: int  # resourceVersion to start after; 0: start with the present objects
    bookmarks: bool  # send bookmarks
    initial_events: bool | None  # sendInitialEvents; None: not given
    timeout_s: float  # seconds after which the stream ends
    form: Form  # how objects are written
    include: IncludeObject  # tables: part of the object in each row


class WatchStream:
    """One client's view of one collection's changes."""

    def __init__(self, store: Store, registry: Registry, options: WatchOptions) -> None:
        self._store = store
        self._registry = registry
        self._collection = store.collection(options.resource.collection)
        self._options = options
        self._pending: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._overrun = False

    async def run(self, response: web.StreamResponse, stopping: asyncio.Event) -> None:
        """Write frames until the time is up, the client leaves, or the server stops."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._options.timeout_s
        bookmark_at = loop.time() + BOOKMARK_SECONDS
        self._collection.listeners.append(self._on_change)
        try:
            self._start()
            while not stopping.is_set() and not self._overrun and self._registry.serves(self._options.resource):
                await self._flush(response)
                now = loop.time()
                if now >= end:
                    break
                if self._options.bookmarks and now >= bookmark_at:
                    bookmark_at = now + BOOKMARK_SECONDS
                    self._pending.append(self._bookmark({}))
                    continue
                await self._wait(min(end, bookmark_at) - now)
            if self._options.bookmarks and not self._overrun:
                self._pending.append(self._bookmark({}))
            await self._flush(response)
        finally:
            self._collection.listeners.remove(self._on_change)

    def wake(self) -> None:
        """Make the stream look whether it should end."""
        self._wake.set()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _flush(self, response: web.StreamResponse) -> None:
        self._wake.clear()
        if self._pending:
            frames = b"".join(self._pending)
            self._pending.clear()
            await response.write(frames)

    def _start(self) -> None:
        """Queue what the client is owed from the past."""
        options = self._options
        if options.version > self._store.version:
            message = f"Too large resource version: {options.version}, current: {self._store.version}"
            self._refuse(StatusError(504, "Timeout", message, retry_after_s=1))
        elif options.initial_events or (options.version == 0 and options.initial_events is None):
            self._queue_present()
        elif options.version:
            self._queue_past()

    def _queue_present(self) -> None:
        for _, _, stored in self._collection.items(self._options.namespace):
            if self._options.selector.matches(stored.body):
                self._pending.append(self._frame(b"ADDED", stored))
        if self._options.initial_events and self._options.bookmarks:
            self._pending.append(self._bookmark({_INITIAL_END: "true"}))

    def _queue_past(self) -> None:
        past = self._collection.since(self._options.version)
        if past is None:
            floor = self._collection.floor
            self._refuse(expired(f"too old resource version: {self._options.version} ({floor})"))
            return
        for change in past:
            self._on_change(change)

    def _refuse(self, error: StatusError) -> None:
        self._pending.append(b'{"type":"ERROR","object":' + encode(error.as_status()) + b"}\n")
        self._overrun = True

    def _on_change(self, change: Change) -> None:
        options = self._options
        if options.namespace is not None and namespace_of(change.stored.body) != options.namespace:
            return
        kind: str = change.kind
        if not options.selector.selects_all:
            kind = self._kind_for(change)
        if kind:
            stored = change.stored
            self._pending.append(self._frame(kind.encode(), stored))
            self._wake.set()
            if len(self._pending) > _MAX_PENDING:
                self._overrun = True

    def _kind_for(self, change: Change) -> str:
        """Return the type of a change for a watcher with a selector; empty: no event."""
        matches = self._options.selector.matches
        before = change.previous is not None and matches(change.previous.body)
        after = change.kind != "DELETED" and matches(change.stored.body)
        if before and after:
            return "MODIFIED"
        return "ADDED" if after else "DELETED" if before else ""

    def _frame(self, kind: bytes, stored: Stored) -> bytes:
        text = object_text(self._options.resource, stored, self._options.form, self._options.include)
        return b'{"type":"' + kind + b'","object":' + text + b"}\n"

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        meta: dict[str, object] = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        resource = self._options.resource
        body: dict[str, object] = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
        if self._options.form.shape == "Table":
            body = {
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": [],
                "rows": [],
            }  # fmt: skip
        return b'{"type":"BOOKMARK","object":' + encode(body) + b"}\n"
