"""Pause a pool durably: in its AgentPool, which the operator publishes; a pool without an AgentPool in its queue.

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


async def set_spec_paused(pool: PoolRef, *, paused: bool, cluster: Cluster, manager: str) -> bool:
    """Set `spec.paused` of the AgentPool; return False if the pool has none. Raises ClusterError.

    `manager` is the field manager of the change.
    """
    try:
        await cluster.agentpool(pool)
    except UnknownPoolError:
        return False
    path = paths.agentpools(pool.namespace, pool.name)
    await cluster.merge(path, {"spec": {"paused": paused}}, manager=manager)
    return True


async def set_queue_paused(pool: PoolRef, *, paused: bool, inspector: Inspector) -> None:
    """Stop or resume claims in the queue; an operator of the pool would undo the change. Raises QueueError."""
    await inspector.configure(pool, replace(await inspector.settings(pool), paused=paused))
