"""Reasons for a slow start of a pod on its node, which only events contain.

A missing Secret of a volume, a claim that cannot be attached, a network that is not ready: the pod's status says only
`ContainerCreating`. So the newest warning about the oldest such pod of each pool is read periodically and added to the
registry. `conditions` reports it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import ClusterError
from agentpool_core.kube import paths
from agentpool_core.kube.errors import ForbiddenError
from agentpool_operator.pools.views import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_core.jobs import PoolRef
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.registry import Pools
    from agentpool_operator.pools.views import PodView

Json = dict[str, Any]
PASS_SECONDS = 5.0  # between looks, and the usual time of a scheduled pod to start
AT_ONCE = 20  # pods per round; of more, the longest unread
REREAD_SECONDS = 60.0  # before the events of a pod with a known problem are read again
FORBIDDEN_RETRY_SECONDS = 60.0  # where the operator's account may not list events
NEVER = float("-inf")  # seconds since the epoch
log = logging.getLogger(__name__)


class PodEventWatch:
    """Looks for causes of slow pod starts."""

    def __init__(self, cluster: Cluster, pools: Pools, *, leading: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._pools = pools
        self._leading = leading
        self._asked: dict[PoolRef, float] = {}  # seconds since the epoch: last read for a pool's pod
        self._refused: dict[str, float] = {}  # likewise by namespace: last refused list of events

    async def run(self) -> None:
        """Look for causes periodically, for ever."""
        while True:
            await asyncio.sleep(PASS_SECONDS)
            if self._leading():
                try:
                    await self.run_once(now=time.time())
                except Exception:
                    log.exception("the search for reasons of pending pods failed and is repeated; please report this")

    async def run_once(self, *, now: float) -> None:
        """Run a round; `now` is seconds since the epoch."""
        slow = {pool.ref: pod for pool in self._pools if (pod := _slow_start(pool, now)) is not None}
        self._asked = {ref: at for ref, at in self._asked.items() if ref in slow}
        due = [ref for ref, pod in slow.items() if self._is_due(ref, pod, now)]
        due.sort(key=lambda ref: (self._asked.get(ref, NEVER), slow[ref].created_at))
        await asyncio.gather(*(self._ask(ref, slow[ref], now) for ref in due[:AT_ONCE]))

    def _is_due(self, pool: PoolRef, pod: PodView, now: float) -> bool:
        if now - self._refused.get(pool.namespace, NEVER) < FORBIDDEN_RETRY_SECONDS:
            return False
        return not pod.trouble or now - self._asked.get(pool, NEVER) >= REREAD_SECONDS

    async def _ask(self, pool: PoolRef, pod: PodView, now: float) -> None:
        self._asked[pool] = now
        selector = f"involvedObject.uid={pod.uid},type=Warning"
        try:
            events, _ = await self._cluster.list(paths.events(pool.namespace), fieldSelector=selector)
        except ForbiddenError as error:
            self._report_refusal(pool.namespace, error, now)
            return
        except ClusterError as error:
            log.info("the reason of the pending pod %s is unknown: %s", pod.name, error)
            return
        self._refused.pop(pool.namespace, None)
        reasons = [
            (str(event.get("reason", "")), str(event.get("message", "")))
            for event in sorted(events, key=_last_seen)
            if _is_of_node(event, pod)
        ]
        if reasons and (pod.trouble, pod.trouble_message) not in reasons:  # a single stable reason of several
            self._pools.see_delay(pool, pod, *reasons[-1])

    def _report_refusal(self, namespace: str, error: ForbiddenError, now: float) -> None:
        if namespace not in self._refused:
            text = "the reason of pending pods in %s is unknown: allow the operator to list events there: %s"
            log.warning(text, namespace, error)
        self._refused[namespace] = now


def _slow_start(pool: Pool, now: float) -> PodView | None:
    """Return the oldest pod with a slow start, which `conditions` reports."""
    found = [pod for pod in pool.live_pods if pod.setting_up and now - pod.scheduled_at >= PASS_SECONDS]
    return min(found, key=lambda pod: pod.created_at, default=None)


def _is_of_node(event: Json, pod: PodView) -> bool:
    """Return whether the event is from after the pod's scheduling, by the API server's clock: node clocks differ."""
    made_at = seconds_of(event["metadata"].get("creationTimestamp"))
    return event.get("reason") != "FailedScheduling" and (made_at is None or made_at >= pod.scheduled_at)


def _last_seen(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
