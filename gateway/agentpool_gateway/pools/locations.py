"""Redis of each pool: the gateway's own, or the Redis named by the AgentPool.

A gateway may serve some namespaces only; other namespaces do not exist for it, and are never requested from the API
server.

`queues` opens a connection for each Redis, shared by its pools.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Protocol

from agentpool_core.errors import UnknownPoolError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube.client import Cluster
from agentpool_core.process.cancellation import results_of
from agentpool_core.redis_address import Address


class Locations(Protocol):
    """Finds a pool's Redis."""

    async def address(self, pool: PoolRef) -> Address:
        """Return the address. Raises UnknownPoolError, ClusterError or SettingError."""

    async def list_pools(self) -> list[PoolRef] | None:
        """Return the declared pools; None: only Redis knows the pools."""

    @property
    def namespaces(self) -> Collection[str]:
        """Return the served namespaces; empty: all."""

    @property
    def fixed(self) -> str | None:
        """Return the common URL of all pools; None if each pool may have its own."""


class _ServedNamespaces:
    """The namespaces that are served; none named: all."""

    def __init__(self, namespaces: Collection[str]) -> None:
        self.namespaces: Collection[str] = frozenset(namespaces)

    def _check(self, pool: PoolRef) -> None:
        if self.namespaces and pool.namespace not in self.namespaces:
            raise UnknownPoolError(str(pool))


class SingleRedis(_ServedNamespaces):
    """A single Redis for all pools."""

    def __init__(self, url: str, *, namespaces: Collection[str] = ()) -> None:
        super().__init__(namespaces)
        self.fixed: str | None = url

    async def address(self, pool: PoolRef) -> Address:
        """Return the common address of all pools."""
        self._check(pool)
        return Address(url=str(self.fixed))

    async def list_pools(self) -> list[PoolRef] | None:
        """Return None: no cluster declares the pools."""
        return None


class OneAddress(_ServedNamespaces):
    """The address of a single pool's Redis, found before."""

    fixed: str | None = None

    def __init__(self, pool: PoolRef, address: Address) -> None:
        super().__init__((pool.namespace,))
        self._pool = pool
        self._address = address

    async def address(self, pool: PoolRef) -> Address:
        """Return the address of the pool. Raises UnknownPoolError for any other pool."""
        if pool != self._pool:
            raise UnknownPoolError(str(pool))
        return self._address

    async def list_pools(self) -> list[PoolRef] | None:
        """Return the only pool."""
        return [self._pool]


class DeclaredRedis(_ServedNamespaces):
    """The Redis named by each AgentPool, cached for a while."""

    fixed: str | None = None

    def __init__(self, cluster: Cluster, *, cache_s: float, namespaces: Collection[str] = ()) -> None:
        super().__init__(namespaces)
        self._cluster = cluster
        self._cache_s = cache_s
        self._known: dict[PoolRef, tuple[float, Address]] = {}

    async def address(self, pool: PoolRef) -> Address:
        """Return the address in the AgentPool, or in its Secret."""
        self._check(pool)
        known = self._known.get(pool)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        address = await self._cluster.redis_address(pool)
        self._known[pool] = (time.monotonic() + self._cache_s, address)
        return address

    async def list_pools(self) -> list[PoolRef] | None:
        """Return the cluster's AgentPools; with namespaces set, from a list request per namespace."""
        lists = await results_of(self._cluster.agentpools(place) for place in self.namespaces or (None,))
        found = [pool["metadata"] for pools in lists for pool in pools]
        return [PoolRef(metadata["namespace"], metadata["name"]) for metadata in found]
