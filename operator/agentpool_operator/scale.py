"""Carries a size out: marks which pods may go, then sets the Deployment's scale.

Before lowering, pods are ranked by what their workers run, as `controller.kubernetes.io/pod-deletion-cost`
(kubernetes/kubernetes#45509), so that the ReplicaSet removes idle ones. The scale is patched only against
the version that the decision saw: a late write of a paused operator, or one that somebody overtook, does
nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from agentpool_operator import paths
from agentpool_operator.apply import SCALING_MANAGER
from agentpool_operator.refusals import ClashError, NotThereError
from agentpool_operator.views import DELETION_COST

if TYPE_CHECKING:
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.registry import Pool, Pools
    from agentpool_operator.views import DeploymentView, PodView

Json = dict[str, Any]
ATTEMPTS = 3  # tries against a Deployment whose status keeps changing
BUSY_COST = 1000  # a busy pod costs this and its jobs, an idle one 0, so that none counts as cheap by accident
log = logging.getLogger(__name__)


class Scaler:
    """Sets the size of Deployments."""

    def __init__(self, cluster: Cluster, pools: Pools) -> None:
        self._cluster = cluster
        self._pools = pools

    async def scale(self, pool: Pool, deployment: DeploymentView, replicas: int) -> bool:
        """Sets the size; False when somebody else has changed it meanwhile, so that it must be decided again."""
        if replicas < deployment.replicas:
            await self._mark_costs(pool)
        path = paths.deployments(pool.ref.namespace, pool.ref.name) + "/scale"
        version = deployment.resource_version
        for _ in range(ATTEMPTS):
            patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
            try:
                scale = await self._cluster.merge(path, patch, manager=SCALING_MANAGER)
            except ClashError:
                live = await self._cluster.get(path)
                if int(live["spec"].get("replicas", 0)) != deployment.replicas:
                    return False
                version = live["metadata"]["resourceVersion"]
                continue
            newer = dataclasses.replace(
                deployment, replicas=replicas, resource_version=scale["metadata"].get("resourceVersion", version)
            )
            self._pools.set_deployment(pool, newer)
            return True
        return False

    async def _mark_costs(self, pool: Pool) -> None:
        """Writes the deletion costs that have changed."""
        running = {w.name: w.running for w in pool.backlog.workers} if pool.backlog is not None else {}
        wanted = [(pod, cost_of(running.get(pod.name, 0))) for pod in pool.live_pods]
        await asyncio.gather(*(self._mark(pool, pod, c) for pod, c in wanted if c != pod.deletion_cost))

    async def _mark(self, pool: Pool, pod: PodView, cost: int) -> None:
        patch = {"metadata": {"uid": pod.uid, "annotations": {DELETION_COST: str(cost)}}}
        try:
            await self._cluster.merge(paths.pods(pool.ref.namespace, pod.name), patch, manager=SCALING_MANAGER)
        except (NotThereError, ClashError):
            log.debug("pod %s went before it was marked", pod.name)


def cost_of(running: int) -> int:
    """The deletion cost of a pod whose worker runs so many jobs."""
    return BUSY_COST + running if running > 0 else 0
