"""The served queues: for each pool a producer, an inspector, a waiting client, and an event hub.

A Redis client for each URL. Only existing pools are kept, so made-up names cost no memory.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from agentpool_core.client import Client
from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_core.queue.chunks import JobOutput
from agentpool_core.queue.family import FamilyReader
from agentpool_core.queue.history import PoolHistory
from agentpool_core.queue.webhook_submits import Submitter
from agentpool_core.queue.webhooks import Webhooks
from agentpool_core.queue.worker_details import read_workers
from agentpool_core.redis_address import Address, connect_to
from agentpool_gateway.pools.event_hub import EventHub
from agentpool_gateway.pools.output_hub import OutputHub
from agentpool_gateway.pools.recent_points import RecentPoints
from agentpool_gateway.pools.snapshot_cache import SnapshotCache

if TYPE_CHECKING:
    from agentpool_core.jobs import JobState, Priority
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_gateway.pools.locations import Locations
    from agentpool_gateway.settings import GatewaySettings

LARGEST_REPLY_BYTES = 128 * 2**20  # of one call, well above a page of a list; a pool may name any server


class PoolQueue:
    """A pool, seen from outside."""

    def __init__(self, redis: RedisClient, pool: PoolRef, *, backlog: int) -> None:
        self.pool = pool
        self.producer = Producer(redis, pool)
        self.inspector = Inspector(redis)
        self.client = Client(redis, pool=pool)
        self.webhooks = Webhooks(redis, pool)
        self.submitter = Submitter(self.producer, self.webhooks)
        self.history = PoolHistory(redis, pool)
        self.workers = partial(read_workers, redis, pool)
        self.families = FamilyReader(redis, pool)
        self.output = JobOutput(redis, pool)
        self.output_hub = OutputHub(redis, pool)
        self.snapshots = SnapshotCache(self.inspector, pool)
        self.hub = EventHub(self.inspector, pool, backlog=backlog)
        self._recent = RecentPoints()
        self._settings: tuple[str, PoolSettings] | None = None  # revision, settings

    async def position(self, kind: str, priority: Priority, state: JobState) -> tuple[int | None, QueueSnapshot]:
        """Return a new job's position among jobs of its route and priority, from 1; None unless ready.

        An upper bound: earlier jobs may have been claimed since.
        """
        snapshot = await self.snapshots.snapshot()
        if state.value != "queued":
            return None, snapshot
        settings = await self.settings_of(snapshot)
        name = settings.route_of(kind)
        route = next((route for route in snapshot.routes if route.name == name), None)
        return (max(1, route.queued.get(priority, 0)) if route else 1), snapshot

    async def snapshot_with_history(self) -> QueueSnapshot:
        """Return the queue, not older than this call, with its last hour for the estimate of a wait."""
        snapshot = await self.snapshots.snapshot()
        self._recent.add(snapshot)
        return replace(snapshot, history=self._recent.merged_with(await self.history.points()))

    async def settings_of(self, snapshot: QueueSnapshot) -> PoolSettings:
        """Return the settings of the snapshot's revision."""
        revision = snapshot.settings_revision
        if self._settings is None or self._settings[0] != revision:
            self._settings = (revision, await self.inspector.settings(self.pool))
        return self._settings[1]

    async def close(self) -> None:
        """End waits and streams."""
        await self.hub.close()
        await self.output_hub.close()
        await self.snapshots.close()
        await self.client.close()


class Queues:
    """All pools that were asked for."""

    def __init__(self, locations: Locations, settings: GatewaySettings) -> None:
        self.locations = locations
        self._settings = settings
        self._clients: dict[str, RedisClient] = {}
        self._pools: dict[tuple[str, PoolRef], PoolQueue] = {}
        self._names: tuple[float, list[PoolRef]] = (0.0, [])  # until when they are believed

    async def of(self, pool: PoolRef) -> PoolQueue:
        """Return the pool's queue. Raises UnknownPoolError, or the error that prevents access."""
        address = await self.locations.address(pool)
        found = self._pools.get((address.url, pool))
        if found is None:
            redis = self.redis(address)
            await Inspector(redis).settings(pool)
            found = PoolQueue(redis, pool, backlog=self._settings.stream_backlog)
            found = self._pools.setdefault((address.url, pool), found)
        return found

    async def names(self) -> list[PoolRef]:
        """Return all served pools, sorted; read again after `names_cache_s`."""
        until, found = self._names
        if until < time.monotonic():
            found = sorted(await self._find_names())
            self._names = (time.monotonic() + self._settings.names_cache_s, found)
        return found

    async def _find_names(self) -> list[PoolRef]:
        declared = await self.locations.list_pools()
        if declared is not None:
            return declared
        inspector = Inspector(self.redis(Address(url=str(self.locations.fixed))))
        return await inspector.pools(self.locations.namespaces)

    def redis(self, address: Address) -> RedisClient:
        """Return the client of an address. Raises SettingError for an unusable URL."""
        if address.url not in self._clients:
            self._clients[address.url] = connect_to(address, largest_reply_bytes=LARGEST_REPLY_BYTES)
        return self._clients[address.url]

    async def close(self) -> None:
        """Close all queues and connections."""
        await asyncio.gather(*(queue.close() for queue in self._pools.values()), return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()
