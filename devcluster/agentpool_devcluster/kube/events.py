"""Events about objects, as `kubectl describe` shows them.

Recording never blocks and never fails the caller: a background task writes. A repeated event (same object, reason and
message) raises the count of the first event.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_devcluster.kube.errors import KubeError, NotFoundError
from agentpool_devcluster.kube.objects import name_of, namespace_of, now_text, uid_of
from agentpool_devcluster.kube.resources import EVENTS, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentpool_devcluster.kube.client import KubeClient

_log = logging.getLogger(__name__)

LARGEST_BACKLOG = 1000  # events; later ones are dropped while the server does not answer
REMEMBERED = 2000  # distinct events with a count that can still rise


_About = tuple[tuple[str, str], ...]


def _about(resource: Resource, obj: Mapping[str, Any], field: str) -> _About:
    """Return the event's `involvedObject` as items, without empty fields."""
    about = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name_of(obj),
        "namespace": namespace_of(obj),
        "uid": uid_of(obj),
        "fieldPath": field,
    }
    return tuple((name, value) for name, value in about.items() if value)


@dataclass(frozen=True, slots=True)
class _Record:
    about: _About  # the involvedObject
    kind: str  # Normal or Warning
    reason: str  # CamelCase
    message: str
    at: str  # RFC 3339

    @property
    def identity(self) -> tuple[object, ...]:
        return (self.about, self.kind, self.reason, self.message)


class EventRecorder:
    """Writes events of one component. `run` must be running for events to reach the server."""

    def __init__(self, client: KubeClient, *, component: str, host: str = "") -> None:
        self._client = client
        self._component = component
        self._host = host
        self._backlog: asyncio.Queue[_Record] = asyncio.Queue(LARGEST_BACKLOG)
        self._seen: OrderedDict[tuple[object, ...], tuple[str, int]] = OrderedDict()

    def normal(self, resource: Resource, obj: Mapping[str, Any], reason: str, message: str, *, field: str = "") -> None:
        """Record a normal event; `field` names the affected part of the object."""
        self._record("Normal", _about(resource, obj, field), reason, message)

    def warning(
        self, resource: Resource, obj: Mapping[str, Any], reason: str, message: str, *, field: str = ""
    ) -> None:
        """Record a warning."""
        self._record("Warning", _about(resource, obj, field), reason, message)

    def _record(self, kind: str, about: _About, reason: str, message: str) -> None:
        record = _Record(about, kind, reason, message, now_text())
        try:
            self._backlog.put_nowait(record)
        except asyncio.QueueFull:
            _log.debug("event dropped, the backlog is full: %s %s", reason, message)

    async def run(self) -> None:
        """Write recorded events until cancelled."""
        while True:
            record = await self._backlog.get()
            try:
                await self._write(record)
            except KubeError as error:
                _log.debug("event not written: %s %s: %s", record.reason, record.message, error)

    async def flush(self) -> None:
        """Write the pending events once, without retries."""
        while not self._backlog.empty():
            try:
                await self._write(self._backlog.get_nowait())
            except KubeError:
                return

    async def _write(self, record: _Record) -> None:
        about = dict(record.about)
        namespace = about.get("namespace") or "default"
        seen = self._seen.get(record.identity)
        if seen is not None:
            name, count = seen
            try:
                await self._client.patch(EVENTS, namespace, name, {"count": count + 1, "lastTimestamp": record.at})
            except NotFoundError:
                pass  # expired: begin a new event below
            else:
                self._remember(record, name, count + 1)
                return
        name = f"{about['name']}.{secrets.token_hex(8)}"
        await self._client.create(EVENTS, namespace, self._manifest(record, name, namespace))
        self._remember(record, name, 1)

    def _remember(self, record: _Record, name: str, count: int) -> None:
        self._seen[record.identity] = (name, count)
        self._seen.move_to_end(record.identity)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def _manifest(self, record: _Record, name: str, namespace: str) -> dict[str, Any]:
        source = {"component": self._component} | ({"host": self._host} if self._host else {})
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": dict(record.about),
            "type": record.kind,
            "reason": record.reason,
            "message": record.message,
            "source": source,
            "count": 1,
            "firstTimestamp": record.at,
            "lastTimestamp": record.at,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
