"""The scaling loop of all pools: read, decide, act.

`run` waits until `read_order` has a batch of pools; `run_once` serves the batch: a pipelined read of their Redis,
shared capacity, a pure decision for each pool, then the writes. Batches of different Redis servers are served
concurrently. While this operator does not lead, the loop rests. A pool with a failed write keeps its memory, so the
next batch decides again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_core.errors import ClusterError, QueueError
from agentpool_core.kube.errors import ForbiddenError, InvalidObjectError, WebhookError
from agentpool_operator.capacity.placement import takes_part
from agentpool_operator.pools.observing import observation_of
from agentpool_operator.pools.pool import Room
from agentpool_operator.pools.problems import Failures, Problem, unexpected_problem
from agentpool_operator.pools.resolve import policy_of
from agentpool_operator.scaling.allowance import next_allowance
from agentpool_operator.scaling.decide import decide, record_outcome
from agentpool_operator.scaling.reason_text import count_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agentpool_operator.capacity.capacity_watch import CapacityWatch
    from agentpool_operator.capacity.placement import Placement
    from agentpool_operator.metrics import Metrics
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.registry import Pools
    from agentpool_operator.pools.views import DeploymentView
    from agentpool_operator.queue.read_order import Group, ReadBatch, Schedule
    from agentpool_operator.queue.reader import QueueReader
    from agentpool_operator.scale_loop.replicas import Scaler
    from agentpool_operator.scale_loop.scale_in import ScaleIn
    from agentpool_operator.scaling.decision import Decision
    from agentpool_operator.status.events import Recorder
    from agentpool_operator.status.patch import StatusWriter

RESTING_SECONDS = 0.2  # between checks of the leadership
log = logging.getLogger(__name__)


class ScalingLoop:
    """The loop."""

    def __init__(
        self,
        *,
        pools: Pools,
        reader: QueueReader,
        placement: Placement,
        capacity_watch: CapacityWatch,
        scaler: Scaler,
        scale_in: ScaleIn,
        status: StatusWriter,
        recorder: Recorder,
        metrics: Metrics,
        schedule: Schedule,
        leading: Callable[[], bool],
    ) -> None:
        self._pools = pools
        self._reader = reader
        self._placement = placement
        self._capacity_watch = capacity_watch
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
        """Serve batches of pools, for ever."""
        async with asyncio.TaskGroup() as under_way:
            while True:
                self.last_pass_at = time.monotonic()
                if not self._leading():
                    await asyncio.sleep(RESTING_SECONDS)
                    continue
                now = time.monotonic()
                for batch in self._schedule.batches(now, _group_of):
                    under_way.create_task(self.run_once(batch))
                await self._schedule.rest(since=now)

    async def run_once(self, batch: ReadBatch) -> None:
        """Serve a batch of pools."""
        with self._metrics.pass_seconds.time():
            try:
                await self._reader.read(batch.pools)
                self._postpone(batch.pools)
                self._share(batch.pools)
            except Exception:
                log.exception("a pass failed before the decisions on its pools; please report this")
            finally:
                self._schedule.release(batch)
            await asyncio.gather(*(self._serve(pool) for pool in batch.pools))

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
        self._capacity_watch.start()
        if not self._capacity_watch.ready:
            return
        asking = [pool for pool in self._pools if takes_part(pool)]
        granted = self._placement.place(asking, news=news, now=time.monotonic(), at=time.time())
        for pool in asking:
            grant = granted.get(pool.ref)
            pool.room = Room(
                placeable=None if grant is None else grant.placeable,
                kept=0 if grant is None else grant.kept,
                refusal=self._placement.refusal_of(pool.ref),
                misfit=self._placement.misfit_of(pool.ref),
                claimed=self._placement.devices_held(pool.ref),
            )

    async def _serve(self, pool: Pool) -> None:
        """Decide for a pool and act; problems of other pools never enter here."""
        try:
            if pool.blocked is not None:
                _show_reason(pool, f"the size is held: {pool.blocked.message}")
            elif pool.spec is not None and pool.owns_deployment:
                await self._size(pool)
            await self._status.write(pool)
            await self._reader.record(pool)
        except (ClusterError, QueueError) as error:
            log.warning("pool %s is tried again: %s", pool.ref, error)
            self._metrics.failures.labels(type(error).__name__).inc()
        except Exception as error:  # noqa: BLE001 - one pool's trouble must not stop the others
            await self._report_failure(pool, error)
        else:
            self._unexpected.reset(pool.ref)
        finally:
            self._schedule.finish(pool)

    async def _report_failure(self, pool: Pool, error: Exception) -> None:
        """Show an unexpected error in the pool's status, and look at the pool again after a pause that grows."""
        doing = "setting the number of workers"
        self._schedule.postpone(pool, self._unexpected.note(pool.ref, error, doing=doing))
        pool.scaling.problem = unexpected_problem(error, reason="ScalingFailed", doing=doing)
        self._metrics.failures.labels(type(error).__name__).inc()
        try:
            await self._status.write(pool)
        except Exception as again:  # noqa: BLE001 - the same pool's trouble
            log.debug("the status of pool %s is written later: %s", pool.ref, type(again).__name__)

    async def _size(self, pool: Pool) -> None:
        if pool.spec is None or pool.deployment is None or self._waits_for_capacity(pool):
            return
        deployment = pool.deployment
        now, at = time.monotonic(), time.time()
        seen = observation_of(pool, now=now, at=at)
        decision = decide(seen, policy_of(pool.spec, at, pool.queue.past_loads), pool.scaling.memory, now)
        decision, reached = await self._carry_out_as_allowed(pool, deployment, decision, now)
        if reached is None:
            self._pools.request_pass(pool.ref)
            self._schedule.request_read(pool.ref)
            return
        decision = record_outcome(decision, before=deployment.replicas, reached=reached)
        changed = decision.replicas != deployment.replicas
        pool.scaling.memory, pool.scaling.decision = decision.memory, decision
        pool.note_starts()
        self._metrics.record_decision(pool, decision, before=deployment.replicas)
        if changed:
            self._report_change(pool, deployment.replicas, decision)
        else:
            _show_reason(pool, decision.reason)

    async def _carry_out_as_allowed(
        self, pool: Pool, deployment: DeploymentView, decision: Decision, now: float
    ) -> tuple[Decision, int | None]:
        """Carry a decision out as far as the API server allows; return it with the size, None as of `_carry_out`."""
        refusing = f"{decision.reason}; the API server refuses {count_text(decision.replicas, 'worker')}"
        allowance = pool.scaling.allowance
        allowed = decision if allowance is None else allowance.limit(decision, current=deployment.replicas, now=now)
        if allowed is not decision:
            return replace(allowed, reason=refusing), await self._carry_out(pool, deployment, allowed)
        try:
            reached = await self._carry_out(pool, deployment, decision)
        except (ForbiddenError, InvalidObjectError, WebhookError) as error:
            self._report_refusal(pool, error.message)
            raising = decision.replicas > deployment.replicas
            size = deployment.replicas
            if raising and not isinstance(error, WebhookError):
                size = await self._scaler.raise_as_allowed(pool, refused=decision.replicas)
            pool.scaling.allowance = next_allowance(allowance, size=size, raising=raising, now=now)
            return replace(decision, reason=refusing), size
        pool.scaling.problem = None
        return decision, reached

    async def _carry_out(self, pool: Pool, deployment: DeploymentView, decision: Decision) -> int | None:
        """Return the resulting size; None = changed meanwhile, decide again."""
        if decision.replicas <= deployment.replicas:
            return await self._scale_in.carry_out(pool, deployment, decision)
        await self._scale_in.release(pool, deployment)
        if not await self._scaler.scale(pool, deployment, decision.replicas):
            return None
        return decision.replicas

    def _waits_for_capacity(self, pool: Pool) -> bool:
        """Return whether the nodes are still being listed; without the right to list, the scheduler decides."""
        sized_by_hand = pool.spec is not None and pool.spec.replicas is not None
        return (
            takes_part(pool)
            and not sized_by_hand
            and not self._capacity_watch.ready
            and not self._capacity_watch.problem
        )

    def _report_refusal(self, pool: Pool, detail: str) -> None:
        """Report a lasting refusal to the user, once; the write is tried again after a pause that grows."""
        problem = Problem(
            reason="ScaleRefused",
            message=f"the API server refuses the number of workers: {detail}; correct the policy or right",
        )
        if pool.scaling.problem != problem:
            pool.scaling.problem = problem
            log.warning("pool %s: %s", pool.ref, problem.message)
            self._recorder.record(pool, "Warning", problem.reason, problem.message)

    def _report_change(self, pool: Pool, before: int, decision: Decision) -> None:
        pool.scaling.decided_at, pool.scaling.reason = time.time(), decision.reason
        up = decision.replicas > before
        verb, kind = ("Raised", "ScaledUp") if up else ("Lowered", "ScaledDown")
        sentence = f"{verb} from {before} to {count_text(decision.replicas, 'worker')}: {decision.reason}."
        log.info("%s: %s", pool.ref, sentence)
        self._recorder.record(pool, "Normal", kind, sentence)


def _group_of(pool: Pool) -> Group:
    """Return the group of a pool; pools that share the nodes' room form a group."""
    return pool.redis_url or "", takes_part(pool)


def _show_reason(pool: Pool, reason: str) -> None:
    """Keep the reason of the present size for the status, which a previous operator may have written already."""
    before = (pool.resource.get("status") or {}).get("lastDecision") or {}
    if reason != (pool.scaling.reason or str(before.get("reason", ""))):
        pool.scaling.decided_at, pool.scaling.reason = time.time(), reason
