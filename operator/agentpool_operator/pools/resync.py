"""Periodic full lists, which reveal changes hidden by a broken watch.

A watch that was away during a deletion never reports it. `watch_handlers` feeds the registry in between.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from agentpool_core.errors import ClusterError
from agentpool_core.kube import paths
from agentpool_operator.pools.registry import Listing
from agentpool_operator.pools.views import POOL_LABEL

if TYPE_CHECKING:
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.pools.registry import Pools

log = logging.getLogger(__name__)


class Resync:
    """The lists."""

    def __init__(self, cluster: Cluster, pools: Pools, *, namespaces: tuple[str, ...], every_s: float) -> None:
        self._cluster = cluster
        self._pools = pools
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._every_s = every_s

    async def run(self) -> None:
        """List periodically, for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.run_once()
            except Exception:
                log.exception("the full list failed and is tried again later; please report this")

    async def run_once(self) -> None:
        """List everything that is watched, once. A namespace that refuses the lists does not stop the others."""
        for namespace in self._namespaces:
            try:
                await self._list_namespace(namespace)
            except ClusterError as error:
                log.warning("the full list of %s is tried again later: %s", namespace or "all namespaces", error)

    async def _list_namespace(self, namespace: str | None) -> None:
        self._pools.see_all(
            namespace,
            resources=await self._list(paths.agentpools(namespace)),
            deployments=await self._list(paths.deployments(namespace), labelSelector=POOL_LABEL),
            pods=await self._list(paths.pods(namespace), labelSelector=POOL_LABEL),
        )

    async def _list(self, path: str, **selectors: str) -> Listing:
        items, version = await self._cluster.list(path, **selectors)
        return Listing(items=items, version=version)
