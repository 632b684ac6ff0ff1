"""Listen for orders and the bell, each on a blocked connection: an idle worker starts in milliseconds.

Orders (cancel, yield) are always listened for. The bell wakes a single waiter, so it is listened for only while a job
could start here and none is known to wait. The claim is sent behind that wait, for slots that are kept free meanwhile:
the server leases the job when the bell rings, without a further request. A worker that may no longer take jobs breaks
off the wait, returns jobs that it may have received, and rings again for other workers.
`agentpool_worker.jobs.claim_loop` starts claimed jobs, `agentpool_worker.jobs.running_jobs` obeys orders.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from agentpool_core.errors import QueueError
from agentpool_core.process.cancellation import run_until_first_end
from agentpool_core.queue.completions import CancelJob, Control, ReturnReason, Wake, YieldJob
from agentpool_worker.jobs.execution import Stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agentpool_core.jobs import Lease
    from agentpool_worker.jobs.claim_loop import ClaimLoop
    from agentpool_worker.jobs.running_jobs import RunningJobs

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5  # after Redis was not reached; the claim loop's own backoff governs claims
_CLOSING_SECONDS = 0.05  # for the server to see that the connection of a broken-off wait is closed


class ControlQueue(Protocol):
    """The part of `agentpool_core.queue.consumer.Consumer` that is used here."""

    async def wait(self, timeout_ms: int, *, for_work: bool = True) -> list[Control]:
        """Block until the bell or an order."""

    async def wait_and_claim(self, timeout_ms: int, limit: int) -> tuple[list[Control], list[Lease]]:
        """Block likewise, and take up to `limit` jobs then, or when the time is over."""

    async def claim(self, limit: int) -> list[Lease]:
        """Claim; with limit 0 claim nothing, but ring for an idle worker if something is ready."""


class OrderListener:
    """Waits, and passes on orders and bells."""

    def __init__(
        self, *, queue: ControlQueue, claims: ClaimLoop, running_jobs: RunningJobs, safety_poll_ms: int
    ) -> None:
        self._queue = queue
        self._claims = claims
        self._running_jobs = running_jobs
        self._safety_poll_ms = safety_poll_ms
        self._waiting: asyncio.Task[Any] | None = None  # blocked, with slots reserved
        claims.break_off = self.break_off

    async def run(self) -> None:
        """Listen for ever; ends when cancelled."""
        await run_until_first_end(_repeat(self.hear_orders), _repeat(self.hear_bell))

    async def hear_orders(self) -> None:
        """Wait once for orders."""
        for control in await self._queue.wait(self._safety_poll_ms, for_work=False):
            if isinstance(control, Wake):  # a cordon was lifted
                self.break_off()
                self._claims.bell()
            self._carry_out(control)

    async def hear_bell(self) -> None:
        """Wait once for work. Claims even without a bell: a lost bell delays, never strands."""
        await self._claims.hungry.wait()
        packs = self._claims.packs
        limit, rings = (0, 0) if packs else self._claims.keep_free()
        if limit <= 0 and not packs:  # taken since; the next ended job claims again
            self._claims.hungry.clear()
            return
        waiting = self._waiting = asyncio.current_task()
        try:
            controls, leases = await self._wait(limit, claims=not packs)
        except asyncio.CancelledError:
            if self._waiting is not None or waiting is None or waiting.uncancel():  # not merely broken off
                raise
            await self._requeue_received()
            return
        except QueueError:
            self._claims.bell()  # the claim loop finds out when the queue answers again
            raise
        finally:
            self._waiting = None
            self._claims.release(limit)
        if leases is None:
            self._claims.bell()
        else:
            self._claims.handle_claim(leases, limit, rings)
        for control in controls:
            self._carry_out(control)
        if leases:
            await asyncio.sleep(0)  # the handlers begin before the next wait is sent, not after

    async def _wait(self, limit: int, *, claims: bool) -> tuple[list[Control], list[Lease] | None]:
        """Wait for the bell; None for the leases: the claim loop asks for all that is free then."""
        if claims:
            return await self._queue.wait_and_claim(self._safety_poll_ms, limit)
        return await self._queue.wait(self._safety_poll_ms), None

    def break_off(self) -> bool:
        """Cancel the present wait; return whether a wait was running."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        return waiting is not None

    async def _requeue_received(self) -> None:
        await asyncio.sleep(_CLOSING_SECONDS)
        await self._claims.wait_for_answers()  # jobs of an answer in flight would count as unknown too
        await self._queue.claim(0)

    def _carry_out(self, control: Control) -> None:
        if isinstance(control, Wake):  # the claim came with the order
            return
        execution = self._running_jobs.find(control.job_id, control.token)
        if execution is None:  # ended while the order was in flight
            return
        if isinstance(control, CancelJob):
            self._running_jobs.stop(execution, Stop.CANCELLED)
        elif isinstance(control, YieldJob):
            execution.ask_to_yield(ReturnReason.PREEMPTED)


async def _repeat(hear: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await hear()
        except QueueError as error:
            log.debug("orders cannot be received: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
