"""Why a pod that has its node does not come up: what the node tells in events, and in no status.

A Secret that a volume names and that is missing, a claim that cannot be attached, a network that is not ready: the
pod's status says no more than `ContainerCreating`. So the newest warning about the oldest such pod of each pool is read
now and then and put into what the registry knows of it. `conditions` tells it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from agentpool.errors import ClusterError
from agentpool_operator import paths
from agentpool_operator.refusals import ForbiddenError
from agentpool_operator.views import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool.jobs import PoolRef
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.registry import Pool, Pools
    from agentpool_operator.views import PodView

Json = dict[str, Any]
PASS_S = 5.0  # seconds between looks, and how long a pod that has a node is merely coming up
AT_ONCE = 20  # pods that are asked about in one look; of more, those that have waited longest for it
TOLD_S = 60.0  # seconds before a pod whose trouble is known is asked about again: it may have got another
FORBIDDEN_RETRY_S = 60.0  # seconds, where the operator's account may not list events
NEVER = float("-inf")  # seconds since the epoch
log = logging.getLogger(__name__)


class Delays:
    """Looks for what holds pods up."""

    def __init__(self, cluster: Cluster, pools: Pools, *, leading: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._pools = pools
        self._leading = leading
        self._asked: dict[PoolRef, float] = {}  # seconds since the epoch: when its pod was last asked about
        self._refused: dict[str, float] = {}  # likewise, by namespace: when its events could last not be listed

    async def run(self) -> None:
        """Looks, for ever."""
        while True:
            await asyncio.sleep(PASS_S)
            if self._leading():
                try:
                    await self.run_once(now=time.time())
                except Exception:
                    log.exception("looking for what holds pods up failed and is tried again; please report this")

    async def run_once(self, *, now: float) -> None:
        """One look; `now` is seconds since the epoch."""
        held_up = {pool.ref: pod for pool in self._pools if (pod := _held_up(pool, now)) is not None}
        self._asked = {ref: at for ref, at in self._asked.items() if ref in held_up}
        due = [ref for ref, pod in held_up.items() if self._is_due(ref, pod, now)]
        due.sort(key=lambda ref: (self._asked.get(ref, NEVER), held_up[ref].created_at))
        await asyncio.gather(*(self._ask(ref, held_up[ref], now) for ref in due[:AT_ONCE]))

    def _is_due(self, pool: PoolRef, pod: PodView, now: float) -> bool:
        if now - self._refused.get(pool.namespace, NEVER) < FORBIDDEN_RETRY_S:
            return False
        return not pod.trouble or now - self._asked.get(pool, NEVER) >= TOLD_S

    async def _ask(self, pool: PoolRef, pod: PodView, now: float) -> None:
        self._asked[pool] = now
        selector = f"involvedObject.uid={pod.uid},type=Warning"
        try:
            events, _ = await self._cluster.list(paths.events(pool.namespace), fieldSelector=selector)
        except ForbiddenError as error:
            self._tell_refused(pool.namespace, error, now)
            return
        except ClusterError as error:
            log.info("what holds pod %s up is not known: %s", pod.name, error)
            return
        self._refused.pop(pool.namespace, None)
        told = [
            (str(event.get("reason", "")), str(event.get("message", "")))
            for event in sorted(events, key=_last_seen)
            if _is_of_node(event, pod)
        ]
        if told and (pod.trouble, pod.trouble_message) not in told:  # one of several is told, not all in turn
            self._pools.see_delay(pool, pod, *told[-1])

    def _tell_refused(self, namespace: str, error: ForbiddenError, now: float) -> None:
        if namespace not in self._refused:
            text = "what holds pods in %s up is not known: allow the operator to list events there: %s"
            log.warning(text, namespace, error)
        self._refused[namespace] = now


def _held_up(pool: Pool, now: float) -> PodView | None:
    """The oldest pod whose node takes long to set it up: the one that `conditions` tells of."""
    found = [pod for pod in pool.live_pods if pod.setting_up and now - pod.scheduled_at >= PASS_S]
    return min(found, key=lambda pod: pod.created_at, default=None)


def _is_of_node(event: Json, pod: PodView) -> bool:
    """Whether it tells of the time since the pod got its node; by the API server's clock, for each node has its own."""
    made_at = seconds_of(event["metadata"].get("creationTimestamp"))
    return event.get("reason") != "FailedScheduling" and (made_at is None or made_at >= pod.scheduled_at)


def _last_seen(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
