"""Apply a size: mark the pods to remove, and set the Deployment's scale.

The mark is the lowest `controller.kubernetes.io/pod-deletion-cost` (kubernetes/kubernetes#45509), by which the
ReplicaSet chooses. The scale is patched only against the version that the decision was based on: a late write of a
suspended or overtaken operator does nothing. `scale_in` selects the pods.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from agentpool_core.kube import paths
from agentpool_core.kube.errors import ClashError, ForbiddenError, InvalidObjectError, NotThereError
from agentpool_operator.pools.field_managers import SCALING_MANAGER
from agentpool_operator.pools.views import DELETION_COST, GOING_COST

if TYPE_CHECKING:
    from collections.abc import Collection

    from agentpool_operator.cluster import Cluster
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.registry import Pools
    from agentpool_operator.pools.views import DeploymentView, PodView

Json = dict[str, Any]
ATTEMPTS = 3  # tries against a Deployment with a changing status
log = logging.getLogger(__name__)


class Scaler:
    """Sets the size of Deployments."""

    def __init__(self, cluster: Cluster, pools: Pools) -> None:
        self._cluster = cluster
        self._pools = pools

    async def scale(self, pool: Pool, deployment: DeploymentView, replicas: int) -> bool:
        """Set the size; return False after a foreign change, which needs a new decision."""
        path = paths.deployments(pool.ref.namespace, pool.ref.name, "scale")
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
            self._pools.set_deployment(
                pool, deployment.resized(replicas, scale["metadata"].get("resourceVersion", version))
            )
            return True
        return False

    async def raise_as_allowed(self, pool: Pool, *, refused: int) -> int:
        """Raise the size as far as the API server allows, below the refused size; return the reached size."""
        if pool.deployment is None:
            return 0
        reached = pool.deployment.replicas
        while refused - reached > 1:
            between = (reached + refused) // 2
            try:
                if not await self.scale(pool, pool.deployment, between):
                    break
            except (ForbiddenError, InvalidObjectError):
                refused = between
            else:
                reached = between
        return reached

    async def set_deletion_costs(self, pool: Pool, going: Collection[PodView]) -> None:
        """Make exactly these pods the cheapest to delete; correct marks are not written again."""
        names = {pod.name for pod in going}
        wrong = [pod for pod in pool.live_pods if (pod.deletion_cost == GOING_COST) != (pod.name in names)]
        await asyncio.gather(*(self._set_deletion_cost(pool, pod, going=pod.name in names) for pod in wrong))

    async def _set_deletion_cost(self, pool: Pool, pod: PodView, *, going: bool) -> None:
        cost = str(GOING_COST) if going else None
        patch = {"metadata": {"uid": pod.uid, "annotations": {DELETION_COST: cost}}}
        try:
            live = await self._cluster.merge(paths.pods(pool.ref.namespace, pod.name), patch, manager=SCALING_MANAGER)
        except (NotThereError, ClashError):
            log.debug("pod %s went before it was marked", pod.name)
        else:
            self._pools.see_pod(live)
