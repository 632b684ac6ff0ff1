"""Pausing a pool where it lasts: at its AgentPool, for the operator publishes what stands there; else at its queue.

Who takes over next: the operator tells the queue, and the claim scripts give out nothing while it says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool import api_paths
from agentpool.errors import UnknownPoolError

if TYPE_CHECKING:
    from agentpool.cluster import Cluster
    from agentpool.jobs import PoolRef
    from agentpool.queue import Inspector


async def set_paused(
    pool: PoolRef, *, paused: bool, cluster: Cluster | None, inspector: Inspector, manager: str
) -> bool:
    """Stops new claims, or lets them go on; running jobs end in peace. True: it stands in the AgentPool.

    `cluster` None: there is none to ask; `manager` is the field manager of the change. A pool that no AgentPool
    declares is run by hand. Raises ClusterError or QueueError.
    """
    if cluster is not None:
        try:
            await cluster.agentpool(pool)
        except UnknownPoolError:
            pass
        else:
            path = api_paths.agentpools(pool.namespace, pool.name)
            await cluster.merge(path, {"spec": {"paused": paused}}, manager=manager)
            return True
    await inspector.configure(pool, replace(await inspector.settings(pool), paused=paused))
    return False
