"""Level-triggered reconcile loop over requested pools: children and status.

A pass computes the desired state and applies it, regardless of the reason for the request. Passes of different pools
run concurrently (bounded); a failed pass is requested again after a growing pause. The scaling loop takes over once the
Deployment exists.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from agentpool_core.errors import ClusterError
from agentpool_core.kube.errors import BusyError
from agentpool_operator.cluster import NotLeadingError
from agentpool_operator.pools.problems import RETRY_MAX_SECONDS, RETRY_MIN_SECONDS, Failures, unexpected_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_core.jobs import PoolRef
    from agentpool_operator.children.applier import Applier
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.problems import Problem
    from agentpool_operator.pools.registry import Pools
    from agentpool_operator.status.events import Recorder
    from agentpool_operator.status.patch import StatusWriter

AT_ONCE = 16  # passes side by side: as many writes as an API server takes without throttling us
BLOCKED_RETRY_SECONDS = 5.0  # before a problem that only the user can solve is looked at again
DOING = "applying the pool's Deployment"
log = logging.getLogger(__name__)


class Reconciler:
    """Passes over pools."""

    def __init__(
        self,
        pools: Pools,
        applier: Applier,
        status: StatusWriter,
        recorder: Recorder,
        *,
        leading: Callable[[], bool],
        request_read: Callable[[PoolRef], None],
    ) -> None:
        self._pools = pools
        self._applier = applier
        self._status = status
        self._recorder = recorder
        self._leading = leading
        self._request_read = request_read
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._failures: defaultdict[PoolRef, int] = defaultdict(int)
        self._unexpected = Failures()
        self._busy: set[PoolRef] = set()
        self._specs: dict[PoolRef, tuple[str, int]] = {}  # uid and generation last passed to the scaling loop

    async def run(self) -> None:
        """Run the requested passes, for ever."""
        async with asyncio.TaskGroup() as passes:
            while True:
                for ref in await self._pools.requested_passes():
                    if ref in self._busy:
                        self._request_pass_later(ref, RETRY_MIN_SECONDS)
                    else:
                        self._busy.add(ref)
                        passes.create_task(self._run_guarded(ref))

    async def _run_guarded(self, ref: PoolRef) -> None:
        try:
            async with self._slots:
                await self._attempt(ref)
        finally:
            self._busy.discard(ref)

    async def _attempt(self, ref: PoolRef) -> None:
        pool = self._pools.get(ref)
        if pool is None or not self._leading():
            return  # a new leader requests all passes
        try:
            await self.run_once(pool)
        except NotLeadingError:
            return
        except ClusterError as error:
            self._failures[ref] += 1
            pause = min(RETRY_MIN_SECONDS * 2 ** self._failures[ref], RETRY_MAX_SECONDS)
            if isinstance(error, BusyError) and error.retry_after_s:
                pause = max(pause, error.retry_after_s)
            log.warning("pool %s is tried again in %g s: %s", ref, pause, error)
            self._request_pass_later(ref, pause)
            return
        except Exception as error:  # noqa: BLE001 - one pool's trouble must not stop the others
            self._request_pass_later(ref, self._unexpected.note(ref, error, doing=DOING))
            await self._show_problem(pool, unexpected_problem(error, reason="ReconcileFailed", doing=DOING))
            return
        self._failures.pop(ref, None)
        self._unexpected.reset(ref)
        if pool.child_problem is not None:
            self._request_pass_later(ref, BLOCKED_RETRY_SECONDS)

    async def run_once(self, pool: Pool) -> None:
        """Run a pass over a pool."""
        if pool.deleting:  # its children go with it; nothing is created again
            await self._status.write(pool)
            return
        before = pool.child_problem
        if pool.spec is not None:
            pool.child_problem = await self._applier.apply(pool, pool.spec)
        if self._pools.get(pool.ref) is not pool:
            return  # deleted meanwhile
        if pool.child_problem is not None and pool.child_problem != before:
            self._recorder.record(pool, "Warning", pool.child_problem.reason, pool.child_problem.message)
        if pool.yielded_to:
            return  # its own operator reports its status
        self._request_read_of_new_spec(pool)
        await self._status.write(pool)

    async def _show_problem(self, pool: Pool, problem: Problem) -> None:
        """Show a problem in the pool's status; after a second failure, the next attempt does."""
        pool.child_problem = problem
        try:
            await self._status.write(pool)
        except Exception as error:  # noqa: BLE001 - the same pool's trouble
            log.debug("the status of pool %s is written later: %s", pool.ref, type(error).__name__)

    def _request_read_of_new_spec(self, pool: Pool) -> None:
        """Request a read for a changed spec, which is published and decided upon at once, not at the next poll."""
        now = (pool.uid, pool.generation)
        if pool.owns_deployment and self._specs.get(pool.ref) != now:
            self._specs[pool.ref] = now
            self._request_read(pool.ref)

    def forget(self, pool: Pool) -> None:
        """Forget a deleted pool."""
        self._failures.pop(pool.ref, None)
        self._unexpected.reset(pool.ref)
        self._specs.pop(pool.ref, None)
        self._applier.forget(pool)

    def _request_pass_later(self, ref: PoolRef, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._pools.request_pass, ref)
