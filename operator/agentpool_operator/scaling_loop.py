"""One loop that sizes all pools: read, decide, act.

`run` waits for the next due pool or a sign of pressure; `run_once` makes one pass: one pipelined read for
each Redis, shared capacity, a pure decision for each pool, then the writes. While this operator does not
lead, the loop rests. A pool whose write fails keeps its memory, so that the next pass decides it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from agentpool.errors import ClusterError, QueueError
from agentpool_operator.observing import observation_of
from agentpool_operator.placement import place
from agentpool_operator.resolve import policy_of
from agentpool_operator.scaling.decide import carried_out, decide
from agentpool_operator.scaling.decision import Mode
from agentpool_operator.scaling.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agentpool.jobs import PoolRef
    from agentpool_operator.events import Recorder
    from agentpool_operator.feed import Feed
    from agentpool_operator.inventory import Inventory
    from agentpool_operator.metrics import Metrics
    from agentpool_operator.pressure import Pressure
    from agentpool_operator.registry import Pool, Pools
    from agentpool_operator.scale import Scaler
    from agentpool_operator.scale_in import ScaleIn
    from agentpool_operator.scaling.decision import Decision
    from agentpool_operator.settings import ScalingLoopSettings
    from agentpool_operator.status import StatusWriter
    from agentpool_operator.views import DeploymentView

RESTING_S = 0.2  # seconds between looks at who leads
LEAVING_POLL_S = 2.0  # seconds between looks at workers that finish their jobs before they go
LONGEST_WAIT_S = 1.0  # seconds: new pools become due without a wake-up
log = logging.getLogger(__name__)


class ScalingLoop:
    """The loop."""

    def __init__(
        self,
        *,
        pools: Pools,
        pressure: Pressure,
        inventory: Inventory,
        feed: Feed,
        scaler: Scaler,
        scale_in: ScaleIn,
        status: StatusWriter,
        recorder: Recorder,
        metrics: Metrics,
        settings: ScalingLoopSettings,
        leading: Callable[[], bool],
    ) -> None:
        self._pools = pools
        self._pressure = pressure
        self._inventory = inventory
        self._feed = feed
        self._scaler = scaler
        self._scale_in = scale_in
        self._status = status
        self._recorder = recorder
        self._metrics = metrics
        self._settings = settings
        self._leading = leading
        self._pressed: set[PoolRef] = set()
        self._wake = asyncio.Event()
        self.last_pass_at = time.monotonic()  # seconds, monotonic: for the liveness probe

    def press(self, ref: PoolRef) -> None:
        """A submit to this pool found no free slot, or its spec has changed: look at it now."""
        self._pressed.add(ref)
        self._wake.set()

    async def run(self) -> None:
        """Sizes pools, for ever."""
        while True:
            self.last_pass_at = time.monotonic()
            if not self._leading():
                await asyncio.sleep(RESTING_S)
                continue
            due = self._due(time.monotonic())
            if due:
                await self.run_once(due)
            await self._rest()

    async def run_once(self, pools: Iterable[Pool]) -> None:
        """One pass over these pools."""
        chosen = [p for p in pools if p.spec is not None and not p.deleting]
        with self._metrics.pass_seconds.time():
            await self._pressure.read(chosen)
            self._share(chosen)
            await asyncio.gather(*(self._serve(pool) for pool in chosen))

    def _due(self, now: float) -> list[Pool]:
        pressed, self._pressed = self._pressed, set()
        due = [pool for pool in self._pools if pool.due_at <= now or pool.ref in pressed]
        for pool in due:
            pool.due_at = now + _pause_s(pool)
        return due

    async def _rest(self) -> None:
        """Waits until the next pool is due, or pressure is felt; a burst of signs wakes once."""
        now = time.monotonic()
        next_at = min((pool.due_at for pool in self._pools), default=now + LONGEST_WAIT_S)
        try:
            async with asyncio.timeout(min(max(0.0, next_at - now), LONGEST_WAIT_S)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
        await asyncio.sleep(self._settings.wake_gap_s)

    def _share(self, chosen: Iterable[Pool]) -> None:
        """Gives every pool that asks for devices its share of the nodes' room, where one of them is decided on."""
        if not any(map(_asks_for_devices, chosen)):
            return
        asking = list(filter(_asks_for_devices, self._pools))
        self._feed.start()
        if not self._feed.ready:
            for pool in asking:
                pool.placeable = None
            return
        granted = place([(pool, observation_of(pool)) for pool in asking], self._inventory, time.monotonic())
        for pool in asking:
            pool.placeable = granted.get(pool.ref)

    async def _serve(self, pool: Pool) -> None:
        """Decides for one pool and acts on it; another pool's trouble never comes in here."""
        try:
            if pool.spec is not None and pool.owns_deployment and pool.child_problem is None:
                await self._size(pool)
            await self._status.write(pool)
        except (ClusterError, QueueError) as error:
            log.warning("pool %s is tried again: %s", pool.ref, error)
            self._metrics.failures.labels(type(error).__name__).inc()
        except Exception as error:
            log.exception("pool %s is tried again; please report this", pool.ref)
            self._metrics.failures.labels(type(error).__name__).inc()

    async def _size(self, pool: Pool) -> None:
        if pool.spec is None or pool.deployment is None or self._waits_for_capacity(pool):
            return
        deployment = pool.deployment
        seen = observation_of(pool)
        decision = decide(seen, policy_of(pool.spec), pool.memory, time.monotonic())
        reached = await self._carry_out(pool, deployment, decision)
        if reached is None:
            self._pools.mark(pool.ref)
            self.press(pool.ref)
            return
        decision = carried_out(decision, before=deployment.replicas, reached=reached)
        changed = decision.replicas != deployment.replicas
        pool.memory, pool.decision = decision.memory, decision
        pool.starts_seen = {p.uid for p in pool.pods.values() if p.ready}
        self._metrics.decided(pool, decision, before=deployment.replicas)
        if changed:
            self._tell(pool, deployment.replicas, decision)
        elif _idles(pool, decision) and decision.reason != _reason_shown(pool):
            pool.decided_at, pool.decided_reason = time.time(), decision.reason

    async def _carry_out(self, pool: Pool, deployment: DeploymentView, decision: Decision) -> int | None:
        """The size that came of it; None = somebody else has changed it, so that it must be decided again."""
        if decision.replicas <= deployment.replicas:
            return await self._scale_in.carry_out(pool, deployment, decision)
        await self._scale_in.release(pool, deployment)
        if not await self._scaler.scale(pool, deployment, decision.replicas):
            return None
        return decision.replicas

    def _waits_for_capacity(self, pool: Pool) -> bool:
        """Whether the nodes are still being listed; without the right to list them, the scheduler decides."""
        asks = pool.spec is not None and pool.spec.gpu is not None and pool.spec.replicas is None
        return asks and not self._feed.ready and not self._feed.problem

    def _tell(self, pool: Pool, before: int, decision: Decision) -> None:
        pool.decided_at = time.time()
        pool.decided_reason = decision.reason
        up = decision.replicas > before
        verb, kind = ("Raised", "ScaledUp") if up else ("Lowered", "ScaledDown")
        sentence = f"{verb} from {before} to {counted(decision.replicas, 'worker')}: {decision.reason}."
        log.info("%s: %s", pool.ref, sentence)
        self._recorder.record(pool, "Normal", kind, sentence)


def _asks_for_devices(pool: Pool) -> bool:
    return pool.spec is not None and pool.spec.gpu is not None and pool.owns_deployment


def _idles(pool: Pool, decision: Decision) -> bool:
    """Whether workers are there without work: who pays for them wants to know why."""
    work = pool.backlog is None or pool.backlog.ready or pool.backlog.running
    return decision.mode is Mode.AUTOMATIC and decision.replicas > 0 and not work


def _reason_shown(pool: Pool) -> str:
    """The reason that the status tells, also one that an operator before this told."""
    before = (pool.resource.get("status") or {}).get("lastDecision") or {}
    return pool.decided_reason or str(before.get("reason", ""))


def _pause_s(pool: Pool) -> float:
    """Seconds to the pool's next look; sooner while workers are about to leave."""
    if pool.spec is None:
        return LONGEST_WAIT_S
    return min(pool.spec.scaling.poll_seconds, LEAVING_POLL_S) if pool.leaving else pool.spec.scaling.poll_seconds
