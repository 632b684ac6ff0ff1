"""Full lists now and then: what a broken watch may have hidden comes to light.

A watch that was away while an object was deleted never tells of it. `handlers` feeds the registry in between.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from agentpool.errors import ClusterError
from agentpool_operator import paths
from agentpool_operator.views import POOL_LABEL

if TYPE_CHECKING:
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.registry import Pools

log = logging.getLogger(__name__)


class Resync:
    """The lists."""

    def __init__(self, cluster: Cluster, pools: Pools, *, namespaces: tuple[str, ...], every_s: float) -> None:
        self._cluster = cluster
        self._pools = pools
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._every_s = every_s

    async def run(self) -> None:
        """Lists, for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.run_once()
            except ClusterError as error:
                log.warning("the full list is tried again later: %s", error)

    async def run_once(self) -> None:
        """One list of everything that is watched."""
        for namespace in self._namespaces:
            resources, _ = await self._cluster.list(paths.agentpools(namespace))
            children, _ = await self._cluster.list(paths.deployments(namespace), labelSelector=POOL_LABEL)
            pods, _ = await self._cluster.list(paths.pods(namespace), labelSelector=POOL_LABEL)
            self._pools.see_all(namespace, resources=resources, deployments=children, pods=pods)
