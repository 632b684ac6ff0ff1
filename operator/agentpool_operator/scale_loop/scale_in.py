"""Remove idle workers only, although jobs may arrive at any moment.

Kubernetes has no call "this pod, and one replica fewer": the size is lowered, then a controller picks pods. So the
workers selected for removal are first cordoned through the queue. The same script counts their jobs: a cordoned worker
without jobs is idle, and stays idle. Only idle pods are marked as the cheapest to delete, and the size is lowered by
their number. Busy workers stay cordoned until idle, or until they are needed again, which is faster than a new pod. A
cordon expires unless repeated, so nothing depends on a vanished operator.

A ReplicaSet deletes pods that are not ready before cheap pods, so those are cordoned too, and nothing is lowered while
such a pod is busy, nor during a rollout with several ReplicaSets. Pods that are not seen yet cannot be cordoned: while
there are any, the queue is read once more, and any running job keeps the size. `replicas` does the writes.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.errors import QueueError
from agentpool_operator.pools.views import GOING_COST
from agentpool_operator.scaling.decision import Mode

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.views import DeploymentView, PodView
    from agentpool_operator.queue.reader import QueueReader
    from agentpool_operator.scale_loop.replicas import Scaler
    from agentpool_operator.scaling.decision import Decision

HOLD_SECONDS = 60.0  # of a cordon unless repeated: many polls, and longer than a takeover


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovalPlan:
    """Workers to remove: a plan for a pass."""

    leaving: tuple[PodView, ...]  # the first to go first
    cordoned: tuple[PodView, ...]  # these, and those that a ReplicaSet might take in their place
    settled: bool  # the controllers have caught up, so the size may be lowered (further)


class ScaleIn:
    """Lowers sizes."""

    def __init__(self, scaler: Scaler, reader: QueueReader) -> None:
        self._scaler = scaler
        self._reader = reader

    async def carry_out(self, pool: Pool, deployment: DeploymentView, decision: Decision) -> int | None:
        """Cordon the selected workers and remove the idle ones. Return the reached size; None = decide again."""
        unread = pool.snapshot is None  # then only a pause or a bound lowers the size
        if decision.mode is Mode.MANUAL or (unread and decision.replicas != deployment.replicas):
            return await self._apply_manual_size(pool, deployment, decision.keep)
        if unread:
            return deployment.replicas
        plan = plan_removal(pool, deployment, decision.keep)
        held = await self._cordon(pool, plan.cordoned)
        if not plan.settled:
            return deployment.replicas
        if deployment.replicas > len(pool.live_pods) and await self._runs_something(pool):
            return deployment.replicas  # pods that are not seen yet would go first, and may be busy already
        gone = count_removable(plan, held, deployment, surplus=deployment.replicas - decision.keep)
        going = [pod for pod in plan.leaving if held.get(pod.name) == 0][:gone]
        await self._scaler.set_deletion_costs(pool, going)
        if gone == 0:
            return deployment.replicas
        reached = deployment.replicas - gone
        return reached if await self._scaler.scale(pool, deployment, reached) else None

    async def _runs_something(self, pool: Pool) -> bool:
        """Read the queue again: since the last reading, a pod that is not seen yet may have claimed a job."""
        await self._reader.read([pool])
        return pool.snapshot is None or pool.snapshot.running > 0

    async def release(self, pool: Pool, deployment: DeploymentView) -> None:
        """Uncordon the workers that were selected for removal, except those that are already ending."""
        if pool.snapshot is None:
            return
        plan = plan_removal(pool, deployment, len(pool.live_pods))
        await self._cordon(pool, plan.cordoned)
        if plan.settled:
            await self._scaler.set_deletion_costs(pool, ())

    async def _cordon(self, pool: Pool, pods: Sequence[PodView]) -> dict[str, int]:
        """Cordon exactly these pods; return the number of jobs of each."""
        names = [pod.name for pod in pods]
        pool.cordoned = len(names)
        if not names and (pool.snapshot is None or not pool.snapshot.cordoned):
            return {}
        held = await self._reader.cordon(pool, names, hold_s=HOLD_SECONDS)
        return dict(zip(names, held, strict=True))

    async def _apply_manual_size(self, pool: Pool, deployment: DeploymentView, replicas: int) -> int | None:
        """Apply an ordered size at once: idle workers go first, busy workers drain."""
        pods = plan_removal(pool, deployment, replicas).leaving
        with contextlib.suppress(QueueError):  # the user's size applies regardless of the queue
            await self._cordon(pool, pods)
        await self._scaler.set_deletion_costs(pool, pods)
        if replicas == deployment.replicas:
            return replicas
        return replicas if await self._scaler.scale(pool, deployment, replicas) else None


def plan_removal(pool: Pool, deployment: DeploymentView, keep: int) -> RemovalPlan:
    """Select the workers to remove so that `keep` workers stay, by the state of pods and workers. Pure."""
    live = pool.live_pods
    settled = not live or (len(live) <= deployment.replicas and deployment.observed_generation >= deployment.generation)
    running = {worker.name: worker.running for worker in pool.backlog.workers} if pool.backlog is not None else {}
    cordoned: Collection[str] = pool.snapshot.cordoned if pool.snapshot is not None else ()
    ranked = sorted(
        live,
        key=lambda pod: (
            not settled and pod.deletion_cost != GOING_COST,  # on their way out already
            pod.ready,
            running.get(pod.name, 0),
            pod.name not in cordoned,
            -pod.created_at,
            pod.name,
        ),
    )
    leaving = ranked[: max(0, len(live) - keep)]
    beside = [
        pod
        for pod in ranked[len(leaving) :]
        if (leaving and not pod.ready) or (not settled and pod.deletion_cost == GOING_COST)
    ]
    return RemovalPlan(leaving=tuple(leaving), cordoned=(*leaving, *beside), settled=settled)


def count_removable(plan: RemovalPlan, held: dict[str, int], deployment: DeploymentView, *, surplus: int) -> int:
    """Return by how many the size may be lowered now without touching a busy worker. Pure."""
    if surplus <= 0 or any(held.get(pod.name, 0) > 0 for pod in plan.cordoned if not pod.ready):
        return 0
    idle = sum(1 for pod in plan.leaving if held.get(pod.name) == 0)
    if 0 < deployment.updated < deployment.total and idle < deployment.total:
        return 0
    return surplus if idle == len(plan.leaving) else min(surplus, idle)
