"""A pool's status: computed from the registry, patched only for relevant changes.

A change of anything except the queue's figures is patched at once, and so is the end of the work: after the last job
the status should not show waiting jobs. The figures alone (which change constantly under load) are patched at most once
in `status_gap_s`, and less often with more pools, so that all pools write no more than `FIGURES_PER_SECOND`. At rest
nothing is written. `conditions` computes the content, this module the time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agentpool_core.kube import paths
from agentpool_core.kube.errors import ClashError, NotThereError
from agentpool_core.spec.base import MAX_INT32
from agentpool_operator.children.manifests import selector_of
from agentpool_operator.pools.views import is_later, rfc3339, trim_resource, version_of
from agentpool_operator.status.conditions import findings, merge_conditions, news

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_core.jobs import PoolRef
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.registry import Pools
    from agentpool_operator.status.events import EventType

Json = dict[str, Any]
MANAGER = "agentpool-status"
# Fields that change constantly under load.
FIGURES = (
    "queued",
    "running",
    "oldestWaitSeconds",
    "wantedReplicas",
    "lastDecision",
)
FIGURES_PER_SECOND = 20  # patches of all pools together for changed figures only: a few per cent of etcd's capacity


def status_of(pool: Pool, *, now: float) -> Json:
    """Return the status that the pool should show; `now` is seconds since the epoch."""
    old = pool.resource.get("status") or {}
    deployment = pool.deployment if pool.owns_deployment else None
    status: Json = {
        "observedGeneration": pool.generation,
        "replicas": deployment.total if deployment else 0,
        "readyReplicas": deployment.ready if deployment else 0,
        "desiredReplicas": deployment.replicas if deployment else 0,
        "wantedReplicas": _int32(pool.scaling.decision.wanted)
        if pool.scaling.decision
        else old.get("wantedReplicas", 0),
        "selector": selector_of(pool.ref),
        **_figures(pool, old),
        "gpus": _gpus(pool),
        "lastDecision": _last_decision(pool, old),
        "conditions": merge_conditions(
            old.get("conditions") or [], findings(pool, now=now), generation=pool.generation, now=rfc3339(now)
        ),
    }
    return {key: value for key, value in status.items() if value is not None}


def _int32(figure: int) -> int:
    """Limit a figure to the schema: a status with a larger figure is refused as a whole."""
    return max(0, min(figure, MAX_INT32))


def _figures(pool: Pool, old: Json) -> Json:
    """Return the queue's figures; the last known figures while it cannot be read."""
    if pool.backlog is None:
        return {name: old.get(name, 0) for name in ("queued", "running", "oldestWaitSeconds")}
    return {
        "queued": _int32(pool.backlog.ready),
        "running": _int32(pool.backlog.running),
        "oldestWaitSeconds": _int32(int(pool.backlog.oldest_wait_s or 0)),
    }


def _gpus(pool: Pool) -> Json | None:
    if pool.gpu is None:
        return None
    return {"placeable": pool.placeable or 0, "held": pool.devices_held}


def _last_decision(pool: Pool, old: Json) -> Json | None:
    if pool.scaling.decided_at is None:
        return old.get("lastDecision")
    return {"at": rfc3339(pool.scaling.decided_at), "reason": pool.scaling.reason}


class StatusWriter:
    """Patches the status of pools, and records an event when a pool stops or starts being Ready."""

    def __init__(
        self,
        cluster: Cluster,
        pools: Pools,
        *,
        gap_s: float,
        record: Callable[[Pool, EventType, str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._gap_s = gap_s
        self._clock = clock
        self._pools = pools
        self._record = record  # records an event: type, reason and message
        self._written_at: dict[PoolRef, float] = {}  # seconds of the clock
        self._writing: set[PoolRef] = set()
        self._again: set[PoolRef] = set()  # of those, the pools changed meanwhile

    async def write(self, pool: Pool) -> None:
        """Patch the pool's status after a relevant change. A change during a patch leads to a second patch."""
        if pool.ref in self._writing:  # two at once would say the same, and the later would be refused (409)
            self._again.add(pool.ref)
            return
        self._writing.add(pool.ref)
        try:
            await self._write_once(pool)
            while pool.ref in self._again:
                self._again.discard(pool.ref)
                await self._write_once(pool)
        finally:
            self._writing.discard(pool.ref)
            if pool.ref in self._again:  # the patch failed, and a caller left its change to this patch
                self._again.discard(pool.ref)
                self._pools.request_pass(pool.ref)

    async def _write_once(self, pool: Pool) -> None:
        """Patch the status once; leave a clash to the next pass."""
        wanted = status_of(pool, now=time.time())
        if not self._worth_writing(pool, wanted):
            return
        shown = pool.resource.get("status") or {}
        gone = {key: None for key in shown if key not in wanted}
        patch = {
            "metadata": {"resourceVersion": pool.resource["metadata"].get("resourceVersion")},
            "status": {**gone, **wanted},
        }
        path = paths.agentpools(pool.ref.namespace, pool.ref.name, "status")
        try:
            answer = await self._cluster.merge(path, patch, manager=MANAGER)
        except ClashError:
            await self._refresh(pool)
            return
        except NotThereError:
            return  # just deleted
        self._written_at[pool.ref] = self._clock()
        event = news(shown.get("conditions") or [], wanted["conditions"])
        if event is not None:
            self._record(pool, *event)
        if not is_later(version_of(pool.resource), version_of(answer)):  # else the watch was faster, with a newer spec
            self._pools.set_resource(pool, trim_resource(answer))

    async def _refresh(self, pool: Pool) -> None:
        """Take over the resource as it is now, unless the watch already has a newer spec."""
        live = await self._cluster.get(paths.agentpools(pool.ref.namespace, pool.ref.name))
        if live["metadata"]["uid"] == pool.uid and live.get("spec") == pool.resource.get("spec"):
            self._pools.set_resource(pool, trim_resource(live))

    def forget(self, ref: PoolRef) -> None:
        """Forget a deleted pool."""
        self._written_at.pop(ref, None)

    def _worth_writing(self, pool: Pool, wanted: Json) -> bool:
        shown = pool.resource.get("status") or {}
        if wanted == shown:
            return False
        changed = {k: v for k, v in wanted.items() if k not in FIGURES} != {
            k: v for k, v in shown.items() if k not in FIGURES
        }
        ended = _idle(wanted) and not _idle(shown)
        since_s = self._clock() - self._written_at.get(pool.ref, float("-inf"))
        return changed or ended or since_s >= max(self._gap_s, len(self._written_at) / FIGURES_PER_SECOND)


def _idle(status: Json) -> bool:
    return not status.get("queued") and not status.get("running")
