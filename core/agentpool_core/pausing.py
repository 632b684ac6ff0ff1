"""Pause a pool durably: in its AgentPool, which the operator publishes; else in its queue.

The operator updates the queue, and the claim scripts return nothing while the pool is paused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_core.errors import UnknownPoolError
from agentpool_core.kube import paths

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.kube.client import Cluster
    from agentpool_core.queue import Inspector


async def set_paused(
    pool: PoolRef, *, paused: bool, cluster: Cluster | None, inspector: Inspector, manager: str
) -> bool:
    """Stop or resume claims; running jobs finish. Return True if stored in the AgentPool.

    `cluster` None: no cluster; `manager` is the field manager of the change. A pool without an AgentPool is run by
    hand. Raises ClusterError or QueueError.
    """
    if cluster is not None:
        try:
            await cluster.agentpool(pool)
        except UnknownPoolError:
            pass
        else:
            path = paths.agentpools(pool.namespace, pool.name)
            await cluster.merge(path, {"spec": {"paused": paused}}, manager=manager)
            return True
    await inspector.configure(pool, replace(await inspector.settings(pool), paused=paused))
    return False
