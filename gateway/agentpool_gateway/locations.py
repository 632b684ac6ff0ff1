"""On which Redis a pool lives: the one that the gateway was given, or the one that its AgentPool names.

Who takes over next: `queues` opens connections, one for each Redis however many pools it holds.
"""

from __future__ import annotations

import time
from typing import Protocol

from agentpool.cluster import Cluster
from agentpool.jobs import PoolRef


class Locations(Protocol):
    """Finds a pool's Redis."""

    async def redis_url(self, pool: PoolRef) -> str:
        """The URL. Raises UnknownPoolError, ClusterError or SettingError."""

    async def declared(self) -> list[PoolRef] | None:
        """The pools that are declared somewhere; None: only Redis knows them."""

    @property
    def fixed(self) -> str | None:
        """The one URL of all pools; None where each may have its own."""


class OneRedis:
    """All pools live on one Redis."""

    def __init__(self, url: str) -> None:
        self.fixed: str | None = url

    async def redis_url(self, pool: PoolRef) -> str:
        """Always the same."""
        del pool
        return str(self.fixed)

    async def declared(self) -> list[PoolRef] | None:
        """Nobody declares them."""
        return None


class AsDeclared:
    """Each AgentPool says where it lives; an answer is believed for a while."""

    fixed: str | None = None

    def __init__(self, cluster: Cluster, *, cache_s: float) -> None:
        self._cluster = cluster
        self._cache_s = cache_s
        self._known: dict[PoolRef, tuple[float, str]] = {}

    async def redis_url(self, pool: PoolRef) -> str:
        """As the AgentPool, or the Secret that it names, says."""
        until, url = self._known.get(pool, (0.0, ""))
        if until > time.monotonic():
            return url
        url = await self._cluster.redis_url(pool)
        self._known[pool] = (time.monotonic() + self._cache_s, url)
        return url

    async def declared(self) -> list[PoolRef] | None:
        """The cluster's AgentPools."""
        found = [pool["metadata"] for pool in await self._cluster.agentpools()]
        return [PoolRef(metadata["namespace"], metadata["name"]) for metadata in found]
