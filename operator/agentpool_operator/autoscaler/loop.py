"""The scaling loop of all pools: read, decide, act.

`run` waits until `read_order` has a turn for some pools; `run_once` is that turn: a pipelined read of their Redis,
shared capacity, a pure decision for each pool, then the writes. Turns of different Redis servers run concurrently.
While this operator does not lead, the loop rests. A pool with a failed write keeps its memory, so the next turn decides
again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from agentpool_core.errors import ClusterError, QueueError
from agentpool_core.kube.errors import ForbiddenError, InvalidObjectError, WebhookError
from agentpool_operator.capacity.placement import Placement, takes_part
from agentpool_operator.pools.observing import observation_of
from agentpool_operator.pools.pool import Room
from agentpool_operator.pools.problems import Failures, Problem, unexpected
from agentpool_operator.pools.resolve import policy_of
from agentpool_operator.scaling.decide import carried_out, decide
from agentpool_operator.scaling.decision import Mode
from agentpool_operator.scaling.reason_text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agentpool_operator.autoscaler.replicas import Scaler
    from agentpool_operator.autoscaler.scale_in import ScaleIn
    from agentpool_operator.capacity.capacity_watch import Feed
    from agentpool_operator.capacity.inventory import Inventory
    from agentpool_operator.metrics import Metrics
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.registry import Pools
    from agentpool_operator.pools.views import DeploymentView
    from agentpool_operator.queue.read_order import Place, Schedule, Turn
    from agentpool_operator.queue.reader import Pressure
    from agentpool_operator.scaling.decision import Decision
    from agentpool_operator.status.events import Recorder
    from agentpool_operator.status.patch import StatusWriter

RESTING_S = 0.2  # seconds between checks of the leadership
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
        schedule: Schedule,
        leading: Callable[[], bool],
    ) -> None:
        self._pools = pools
        self._pressure = pressure
        self._placement = Placement(inventory)
        self._feed = feed
        self._scaler = scaler
        self._scale_in = scale_in
        self._status = status
        self._recorder = recorder
        self._metrics = metrics
        self._leading = leading
        self._schedule = schedule
        self._unexpected = Failures()
        self.last_pass_at = time.monotonic()  # seconds, monotonic: for the liveness probe

    async def run(self) -> None:
        """Sizes pools, for ever."""
        async with asyncio.TaskGroup() as under_way:
            while True:
                self.last_pass_at = time.monotonic()
                if not self._leading():
                    await asyncio.sleep(RESTING_S)
                    continue
                now = time.monotonic()
                for turn in self._schedule.turns(now, _place_of):
                    under_way.create_task(self.run_once(turn))
                await self._schedule.rest(since=now)

    async def run_once(self, turn: Turn) -> None:
        """Run a turn of some pools."""
        with self._metrics.pass_seconds.time():
            try:
                await self._pressure.read(turn.pools)
                self._postpone(turn.pools)
                self._share(turn.pools)
            except Exception:
                log.exception("a pass failed before the decisions on its pools; please report this")
            finally:
                self._schedule.answered(turn)
            await asyncio.gather(*(self._serve(pool) for pool in turn.pools))

    def _postpone(self, pools: Iterable[Pool]) -> None:
        """Read the pools with an unexpected failure later."""
        for pool in pools:
            if pool.queue.pause_s:
                self._schedule.postpone(pool, pool.queue.pause_s)

    def _share(self, chosen: Iterable[Pool]) -> None:
        """Give every pool that requests devices its share of the nodes' room, if any of them is being decided."""
        news = {pool.ref for pool in chosen if takes_part(pool)}
        if not news:
            return
        self._feed.start()
        if not self._feed.ready:
            return
        asking = [pool for pool in self._pools if takes_part(pool)]
        granted = self._placement.place(asking, news=news, now=time.monotonic(), at=time.time())
        for pool in asking:
            pool.room = Room(placeable=granted.get(pool.ref), misfit=self._placement.misfit_of(pool.ref))

    async def _serve(self, pool: Pool) -> None:
        """Decide for a pool and act; problems of other pools never enter here."""
        try:
            if pool.spec is not None and pool.owns_deployment and pool.blocked is None:
                await self._size(pool)
            await self._status.write(pool)
        except (ClusterError, QueueError) as error:
            log.warning("pool %s is tried again: %s", pool.ref, error)
            self._metrics.failures.labels(type(error).__name__).inc()
        except Exception as error:  # noqa: BLE001 - one pool's trouble must not stop the others
            await self._failed(pool, error)
        else:
            self._unexpected.succeeded(pool.ref)
        finally:
            self._schedule.served(pool)

    async def _failed(self, pool: Pool, error: Exception) -> None:
        """Show an unexpected error in the pool's status, and look at the pool again after a pause that grows."""
        doing = "setting the number of workers"
        self._schedule.postpone(pool, self._unexpected.note(pool.ref, error, doing=doing))
        pool.scaling.problem = unexpected(error, reason="ScalingFailed", doing=doing)
        self._metrics.failures.labels(type(error).__name__).inc()
        try:
            await self._status.write(pool)
        except Exception as again:  # noqa: BLE001 - the same pool's trouble
            log.debug("the status of pool %s is written later: %s", pool.ref, type(again).__name__)

    async def _size(self, pool: Pool) -> None:
        if pool.spec is None or pool.deployment is None or self._waits_for_capacity(pool):
            return
        deployment = pool.deployment
        seen = observation_of(pool, now=time.time())
        decision = decide(seen, policy_of(pool.spec), pool.scaling.memory, time.monotonic())
        try:
            reached = await self._carry_out(pool, deployment, decision)
        except (ForbiddenError, InvalidObjectError, WebhookError) as error:
            self._tell_refused(pool, error.message)
            return
        pool.scaling.problem = None
        if reached is None:
            self._pools.mark(pool.ref)
            self._schedule.press(pool.ref)
            return
        decision = carried_out(decision, before=deployment.replicas, reached=reached)
        changed = decision.replicas != deployment.replicas
        pool.scaling.memory, pool.scaling.decision = decision.memory, decision
        pool.note_starts()
        self._metrics.decided(pool, decision, before=deployment.replicas)
        if changed:
            self._tell(pool, deployment.replicas, decision)
        elif _idles(pool, decision) and decision.reason != _reason_shown(pool):
            pool.scaling.changed_at, pool.scaling.reason = time.time(), decision.reason

    async def _carry_out(self, pool: Pool, deployment: DeploymentView, decision: Decision) -> int | None:
        """Return the resulting size; None = changed meanwhile, decide again."""
        if decision.replicas <= deployment.replicas:
            return await self._scale_in.carry_out(pool, deployment, decision)
        await self._scale_in.release(pool, deployment)
        if not await self._scaler.scale(pool, deployment, decision.replicas):
            return None
        return decision.replicas

    def _waits_for_capacity(self, pool: Pool) -> bool:
        """Whether the nodes are still being listed; without the right to list them, the scheduler decides."""
        sized_by_hand = pool.spec is not None and pool.spec.replicas is not None
        return takes_part(pool) and not sized_by_hand and not self._feed.ready and not self._feed.problem

    def _tell_refused(self, pool: Pool, detail: str) -> None:
        """Report a lasting refusal to the user, once; the write is retried at every turn."""
        problem = Problem(
            reason="ScaleRefused",
            message=f"the API server refuses the number of workers: {detail}; correct the policy or right",
        )
        if pool.scaling.problem != problem:
            pool.scaling.problem = problem
            log.warning("pool %s: %s", pool.ref, problem.message)
            self._recorder.record(pool, "Warning", problem.reason, problem.message)

    def _tell(self, pool: Pool, before: int, decision: Decision) -> None:
        pool.scaling.changed_at, pool.scaling.reason = time.time(), decision.reason
        up = decision.replicas > before
        verb, kind = ("Raised", "ScaledUp") if up else ("Lowered", "ScaledDown")
        sentence = f"{verb} from {before} to {counted(decision.replicas, 'worker')}: {decision.reason}."
        log.info("%s: %s", pool.ref, sentence)
        self._recorder.record(pool, "Normal", kind, sentence)


def _place_of(pool: Pool) -> Place:
    """Return the group of a pool; pools that share the nodes' room form a group."""
    return pool.redis_url or "", takes_part(pool)


def _idles(pool: Pool, decision: Decision) -> bool:
    """Return whether idle workers exist; the status then explains them."""
    work = pool.backlog is None or pool.backlog.ready or pool.backlog.running
    return decision.mode is Mode.AUTOMATIC and decision.replicas > 0 and not work


def _reason_shown(pool: Pool) -> str:
    """Return the reason in the status, possibly written by a previous operator."""
    before = (pool.resource.get("status") or {}).get("lastDecision") or {}
    return pool.scaling.reason or str(before.get("reason", ""))
