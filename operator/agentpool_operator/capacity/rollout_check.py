"""Check of a changed template before it replaces workers that run.

A pool with devices replaces a worker before its successor starts, because the devices are scarce. A template that fits
on no node, by a mistake in `perWorker` for example, would end healthy workers for nothing. `applier` asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentpool_operator.pools.resolve import shape_of
from agentpool_operator.scaling.nodes import misfit

if TYPE_CHECKING:
    from agentpool_operator.capacity.admission import Admission
    from agentpool_operator.capacity.capacity_watch import CapacityWatch
    from agentpool_operator.pools.pool import Pool

Json = dict[str, Any]


class RolloutCheck:
    """The check."""

    def __init__(self, watch: CapacityWatch, admission: Admission) -> None:
        self._watch = watch
        self._admission = admission

    async def misfit(self, pool: Pool, deployment: Json) -> str:
        """Return why no node could hold a worker of the changed Deployment; empty = a node could, or not known."""
        runs = any(pod.node for pod in pool.live_pods)
        if not runs or pool.deployment is None or pool.gpu is None or pool.gpu.max_pending:
            return ""  # with maxPending an autoscaler may add a node that fits
        self._watch.start()
        if not await self._watch.wait_until_ready() or await self._why_none(pool.deployment.raw):
            return ""  # workers run on nodes that seem not to hold them: the nodes are not known well enough
        return await self._why_none(deployment)

    async def _why_none(self, deployment: Json) -> str:
        template = deployment["spec"].get("template") or {}
        shape = await self._admission.shape(deployment) or shape_of(template)
        seen = self._watch.inventory
        return misfit(seen.nodes(), seen.resolved(deployment["metadata"]["namespace"], shape))
