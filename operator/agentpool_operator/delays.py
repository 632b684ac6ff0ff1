"""Why a pod that has its node does not come up: what the node tells in events, and in no status.

A Secret that a volume names and that is missing, a claim that cannot be attached, a network that is not ready: the
pod's status says no more than `ContainerCreating`. So the newest warning about such a pod is read now and then and put
into what the registry knows of it. `conditions` tells it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from agentpool.errors import ClusterError
from agentpool_operator import paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool.jobs import PoolRef
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.registry import Pools
    from agentpool_operator.views import PodView

Json = dict[str, Any]
PASS_S = 5.0  # seconds between looks, and the age before which a pod is merely coming up
AT_ONCE = 50  # pods that are asked about in one look, the oldest first
log = logging.getLogger(__name__)


class Delays:
    """Looks for what holds pods up."""

    def __init__(self, cluster: Cluster, pools: Pools, *, leading: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._pools = pools
        self._leading = leading

    async def run(self) -> None:
        """Looks, for ever."""
        while True:
            await asyncio.sleep(PASS_S)
            if self._leading():
                await self.run_once(now=time.time())

    async def run_once(self, *, now: float) -> None:
        """One look; `now` is seconds since the epoch."""
        held_up = [
            (pod, pool.ref)
            for pool in self._pools
            for pod in pool.live_pods
            if pod.setting_up and now - pod.created_at >= PASS_S
        ]
        held_up.sort(key=lambda found: found[0].created_at)
        await asyncio.gather(*(self._ask(pod, ref) for pod, ref in held_up[:AT_ONCE]))

    async def _ask(self, pod: PodView, pool: PoolRef) -> None:
        selector = f"involvedObject.uid={pod.uid},type=Warning"
        try:
            events, _ = await self._cluster.list(paths.events(pool.namespace), fieldSelector=selector)
        except ClusterError as error:
            log.info("what holds pod %s up is not known: %s", pod.name, error)
            return
        told = [
            (str(event.get("reason", "")), str(event.get("message", ""))) for event in sorted(events, key=_last_seen)
        ]
        if told and (pod.trouble, pod.trouble_message) not in told:  # one of several is told, not all in turn
            self._pools.see_delay(pool, pod, *told[-1])


def _last_seen(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
