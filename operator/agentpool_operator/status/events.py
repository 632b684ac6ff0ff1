"""Events about pools for `kubectl describe`, each recorded once.

Recording never waits: a background task posts queued events, drops the oldest under pressure, and raises the count of a
repeated event. Events are informational: a refusal is only logged.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agentpool_core.errors import ClusterError
from agentpool_core.kube import paths
from agentpool_core.kube.errors import ClashError
from agentpool_core.spec import API_VERSION, KIND
from agentpool_operator.pools.views import rfc3339
from agentpool_operator.status.conditions import bounded_message

if TYPE_CHECKING:
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.pools.pool import Pool

Json = dict[str, Any]
EventType = Literal["Normal", "Warning"]
COMPONENT = "agentpool-operator"
QUEUED_AT_MOST = 1000  # events: beyond, the oldest are dropped
LONGEST_MESSAGE = 1000  # characters: an API server may refuse events with more
SILENCE_SECONDS = 60.0  # in which the same event is not recorded again
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Event:
    """An event to be posted."""

    namespace: str
    pool: Json  # the involved object's reference
    type: EventType
    reason: str
    message: str

    @property
    def key(self) -> str:
        """Equal for equal events about the same object."""
        text = "\0".join((self.pool["uid"], self.type, self.reason, self.message))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Recorder:
    """Records events."""

    def __init__(self, cluster: Cluster, *, identity: str) -> None:
        self._cluster = cluster
        self._identity = identity
        self._queue: asyncio.Queue[_Event] = asyncio.Queue(QUEUED_AT_MOST)
        self._recorded_at: dict[str, float] = {}  # seconds, monotonic, by key

    def record(self, pool: Pool, type_: EventType, reason: str, message: str) -> None:
        """Queue an event about a pool, unless it was recorded recently."""
        event = _Event(
            namespace=pool.ref.namespace,
            pool={
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": pool.ref.name,
                "namespace": pool.ref.namespace,
                "uid": pool.uid,
                "resourceVersion": pool.resource["metadata"].get("resourceVersion", ""),
            },
            type=type_,
            reason=reason,
            message=bounded_message(message)[:LONGEST_MESSAGE],
        )
        now = time.monotonic()
        if now - self._recorded_at.get(event.key, float("-inf")) < SILENCE_SECONDS:
            return
        self._recorded_at = {k: at for k, at in self._recorded_at.items() if now - at < SILENCE_SECONDS}
        self._recorded_at[event.key] = now
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(event)

    async def run(self) -> None:
        """Post queued events until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._post(event)
            except ClusterError as error:
                log.info("an event was not posted: %s", error)
            except Exception:
                log.exception("an event of %s could not be posted; please report this", event.pool["name"])

    async def _post(self, event: _Event) -> None:
        now = rfc3339(time.time())
        name = f"{event.pool['name']}.{event.key}"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": event.namespace},
            "involvedObject": event.pool,
            "type": event.type,
            "reason": event.reason,
            "message": event.message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._identity,
        }
        try:
            await self._cluster.create(paths.events(event.namespace), body)
        except ClashError:
            path = paths.events(event.namespace, name)
            recorded = await self._cluster.get(path)
            patch = {"count": int(recorded.get("count") or 1) + 1, "lastTimestamp": now}
            await self._cluster.merge(path, patch, manager=COMPONENT)
