"""All pools of a namespace or of a cluster, with their queues: for lists of pools, jobs and workers.

With a Redis URL the pools are those that this Redis knows; otherwise the AgentPools of the cluster, each with its own
Redis. A pool with an unreadable queue keeps a row, with the reason.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from agentpool_core.cli.connection import reach
from agentpool_core.cli.kube_options import kube_options
from agentpool_core.cli.target import (
    Target,
    check_kubeconfig,
    default_namespace,
    pool_namespace_option,
    pool_option,
    redis_from,
    redis_option,
    target_of,
)
from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import PoolRef
from agentpool_core.queue.snapshots import QueueSnapshot

if TYPE_CHECKING:
    from agentpool_core.kube.client import Cluster, Object
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.inspector import Inspector
    from agentpool_core.redis_address import Address


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """The pools of a command: one, those of a namespace, or all."""

    pool: str | None
    namespace: str | None
    redis: str | None
    everywhere: bool  # -A

    def one(self) -> Target:
        """Return the only pool. Raises SettingError if none is named."""
        return target_of(self.pool, self.namespace, self.redis)

    @property
    def names_pool(self) -> bool:
        """Whether the flags or the environment name a pool."""
        return not self.everywhere and bool(self.pool or os.environ.get("AGENTPOOL_POOL"))

    @property
    def redis_url(self) -> str | None:
        """Return the Redis of all pools; None: as each AgentPool says."""
        return redis_from(self.redis)

    @property
    def of_namespace(self) -> str | None:
        """Return the namespace of the pools; None: all namespaces."""
        return None if self.everywhere else self.namespace or default_namespace()


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolReading:
    """A pool at a moment."""

    pool: PoolRef
    queue: QueueSnapshot | None = None  # None: it could not be read
    problem: str | None = None  # the reason for that
    resource: Object | None = None  # the AgentPool; None: not asked for, or not declared


class Fleet:
    """Open connections to the queues of a scope."""

    def __init__(self, scope: Scope, stack: AsyncExitStack, *, cluster: Cluster | None, only: Target | None) -> None:
        self._scope = scope
        self._stack = stack
        self._cluster = cluster  # None: one Redis knows the pools
        self._only = only  # None: all pools of the scope
        self._clients: dict[str, RedisClient] = {}  # by URL

    async def read(self) -> list[PoolReading]:
        """Return the pools of the scope, by name. Raises the error of the only pool."""
        if self._only is not None:
            inspector = await self.inspector(self._only.pool)
            return [PoolReading(pool=self._only.pool, queue=await inspector.snapshot(self._only.pool))]
        resources = await self._declared() if self._cluster else dict.fromkeys(await self._known())
        return list(await asyncio.gather(*(self._reading(pool, each) for pool, each in resources.items())))

    async def names(self) -> list[PoolRef]:
        """Return the names of the pools of the scope."""
        if self._only is not None:
            return [self._only.pool]
        return list(await self._declared()) if self._cluster else await self._known()

    async def inspector(self, pool: PoolRef) -> Inspector:
        """Return the inspector of a pool's Redis. Raises the error that prevents access."""
        if self._only is not None:
            return await self._inspector(await self._only.address())
        if self._cluster is not None:
            return await self._inspector(await self._cluster.redis_address(pool))
        return await self._inspector_of_all()

    async def _declared(self) -> dict[PoolRef, Object | None]:
        """Return the AgentPools of the cluster."""
        found = [] if self._cluster is None else await self._cluster.agentpools(self._scope.of_namespace)
        named = {PoolRef(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in found}
        return {pool: named[pool] for pool in sorted(named)}

    async def _known(self) -> list[PoolRef]:
        """Return the pools that the Redis of all knows."""
        namespace = self._scope.of_namespace
        return await (await self._inspector_of_all()).pools([namespace] if namespace else [])

    async def _inspector_of_all(self) -> Inspector:
        from agentpool_core.redis_address import Address

        return await self._inspector(Address(url=str(self._scope.redis_url)))

    async def _reading(self, pool: PoolRef, resource: Object | None) -> PoolReading:
        try:
            queue = await (await self.inspector(pool)).snapshot(pool)
        except AgentPoolError as error:
            return PoolReading(pool=pool, problem=str(error), resource=resource)
        return PoolReading(pool=pool, queue=queue, resource=resource)

    async def _inspector(self, address: Address) -> Inspector:
        from agentpool_core.queue.inspector import Inspector
        from agentpool_core.redis_address import connect_to

        client = self._clients.get(address.url)
        if client is None:
            client = self._clients[address.url] = connect_to(address)
            self._stack.push_async_callback(client.aclose)
        await reach(client)
        return Inspector(client)


@asynccontextmanager
async def open_fleet(scope: Scope, *, only: Target | None = None) -> AsyncIterator[Fleet]:
    """Yield the pools of a scope, or only one; close the connections after the block."""
    from agentpool_core.kube.connection import open_cluster

    async with AsyncExitStack() as stack:
        asks_cluster = only is None and scope.redis_url is None
        if asks_cluster:
            check_kubeconfig()
        cluster = await stack.enter_async_context(open_cluster()) if asks_cluster else None
        yield Fleet(scope, stack, cluster=cluster, only=only)


async def find_pools(redis: str | None) -> list[PoolRef]:
    """Return the names of all pools."""
    async with open_fleet(Scope(pool=None, namespace=None, redis=redis, everywhere=True)) as fleet:
        return await fleet.names()


def scope_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--pool`, `--namespace`, `-A`, `--redis` and kubectl's options to a command, and pass it a `scope`."""

    @pool_option
    @pool_namespace_option
    @click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="The pools of all namespaces.")
    @redis_option
    @kube_options
    @wraps(function)
    def with_scope(
        *args: Any, pool: str | None, namespace: str | None, everywhere: bool, redis: str | None, **rest: Any
    ) -> Any:
        if everywhere and (pool or namespace):
            raise click.UsageError("-A means the pools of all namespaces; leave out --pool and --namespace")
        return function(*args, scope=Scope(pool=pool, namespace=namespace, redis=redis, everywhere=everywhere), **rest)

    return with_scope
