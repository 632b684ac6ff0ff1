"""The operator's part of a schedule: its decisions and its scale-in, on a Deployment that the simulation keeps.

`decide` and `ScaleIn` are the operator's own; watches and writes of the Kubernetes API are left out. The Deployment's
controller is here too: it replaces pods that are lost, and removes those that the operator has marked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import QueueError
from agentpool_core.jobs import WorkerId
from agentpool_core.queue import Inspector, connect
from agentpool_operator.pools.views import GOING_COST, PodView
from agentpool_operator.queue.reader import backlog_of
from agentpool_operator.scale_loop.scale_in import ScaleIn
from agentpool_operator.scaling.decide import decide, record_outcome
from agentpool_operator.scaling.memory import PoolMemory
from agentpool_operator.scaling.observation import Observation, PodState
from agentpool_operator.scaling.policy import Behavior, ScalingPolicy, ScalingRules
from tests.simulation.fleet import URL

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_operator.scaling.observation import Backlog
    from tests.simulation.fleet import Fleet
    from tests.simulation.story import Story

PERIOD_SECONDS = 1.0
MOST = 3  # workers
POLICY = ScalingPolicy(
    concurrency=3,
    min_replicas=2,
    max_replicas=MOST,
    target_wait_s=0.5,
    idle_s=2.0,
    behavior=Behavior(down=ScalingRules(stabilization_s=1.0)),
)


@dataclass(frozen=True)
class SeenDeployment:
    """The part of a Deployment's view that scaling reads; its controller is always up to date."""

    replicas: int
    generation: int = 1
    observed_generation: int = 1

    @property
    def total(self) -> int:
        return self.replicas

    updated = total


@dataclass
class SeenPool:
    """The part of the operator's record of a pool that scaling reads."""

    ref: PoolRef
    live_pods: list[PodView]
    snapshot: QueueSnapshot | None = None
    backlog: Backlog | None = None
    cordoned: int = 0


class Autoscaler:
    """An operator of one pool; it stands for the operator's reader and scaler too."""

    def __init__(self, fleet: Fleet, story: Story, pool: PoolRef, *, replicas: int, concurrency: int) -> None:
        self._policy = replace(POLICY, concurrency=concurrency)
        self._fleet, self._story, self._ref = fleet, story, pool
        self.replicas = replicas
        self._going: set[str] = set()
        self._memory = PoolMemory()
        self._unread_since: float | None = None
        scaler: Any = self
        self._scale_in = ScaleIn(scaler, scaler)

    async def run(self) -> None:
        """Decide once a second, for ever; runs on the operator's machine."""
        redis = connect(URL)
        self._inspector = Inspector(redis)
        try:
            while True:
                await asyncio.sleep(PERIOD_SECONDS)
                await self._try_to_size()
        finally:
            await redis.aclose()

    async def _try_to_size(self) -> None:
        try:
            await self._size()
        except QueueError as error:
            self._story.add("operator", f"tries again: {error}")

    async def control(self) -> None:
        """Keep as many pods as the Deployment asks for; runs in the cluster."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS / 2)
            while len(self._fleet.pods) < self.replicas:
                self._fleet.start()
            surplus = len(self._fleet.pods) - self.replicas
            ranked = sorted(self._fleet.pods, key=lambda name: (name not in self._going, -self._fleet.pods[name], name))
            for name in ranked[: max(0, surplus)]:
                self._fleet.leave(name)

    async def _size(self) -> None:
        pool = SeenPool(self._ref, self._pods())
        await self.read([pool])
        now = asyncio.get_running_loop().time()
        self._unread_since = None if pool.backlog else self._unread_since or now
        seen = Observation(
            replicas=self.replicas,
            backlog=pool.backlog,
            unread_s=now - self._unread_since if self._unread_since else 0.0,
            pods=tuple(PodState(name=pod.name, ready=True, age_s=now - pod.created_at) for pod in pool.live_pods),
        )
        decision = decide(seen, self._policy, self._memory, now)
        before, deployment = self.replicas, SeenDeployment(self.replicas)
        if decision.replicas <= before:
            reached = await self._scale_in.carry_out(pool, deployment, decision)
        else:
            await self._scale_in.release(pool, deployment)
            self.replicas = reached = decision.replicas
        if reached is None:
            return
        self._memory = record_outcome(decision, before=before, reached=reached).memory
        if reached != before:
            self._story.add("operator", f"from {before} to {reached} workers: {decision.reason}")

    def _pods(self) -> list[PodView]:
        return [
            PodView(
                name=name, uid=name, node="n", created_at=at, ready=True, startup_s=0.0, terminating=False, ended=False,
                trouble="", trouble_message="", deletion_cost=GOING_COST if name in self._going else 0,
            )
            for name, at in self._fleet.pods.items()
        ]  # fmt: skip

    async def read(self, pools: Collection[SeenPool]) -> None:
        """Read the queue, as the operator's reader does."""
        for pool in pools:
            found = (await self._inspector.snapshots([self._ref]))[self._ref]
            if isinstance(found, QueueError):
                pool.snapshot = pool.backlog = None
            else:
                pool.snapshot, pool.backlog = found, backlog_of(found)

    async def cordon(self, pool: SeenPool, workers: list[str], *, hold_s: float) -> list[int]:
        """Cordon these workers, as the operator's reader does."""
        names = [WorkerId(name) for name in workers]
        return await self._inspector.cordon(pool.ref, names, hold_ms=round(hold_s * 1000))

    async def set_deletion_costs(self, pool: SeenPool, going: Collection[PodView]) -> None:
        """Mark the pods to remove, as the operator's scaler does."""
        self._going = {pod.name for pod in going}

    async def scale(self, pool: SeenPool, deployment: SeenDeployment, replicas: int) -> bool:
        """Set the size, as the operator's scaler does."""
        self.replicas = replicas
        return True
