"""Hears orders and the bell, each on a blocked connection: an idle worker costs nothing and starts in milliseconds.

Orders (cancel, yield) are listened for always. The bell wakes one waiter of all, so it is listened for only while a
job could start here and none is known to wait. One that rings here all the same, because the slots were taken since,
is passed on, so that an idle worker hears it.
Who takes over next: `agentpool_worker.claim_loop` claims on the bell, `agentpool_worker.roster` carries out orders.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from agentpool.cancellation import together
from agentpool.errors import QueueError
from agentpool.queue.outcomes import CancelJob, Control, ReturnReason, Wake, YieldJob
from agentpool_worker.execution import Stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agentpool.jobs import Lease
    from agentpool_worker.claim_loop import ClaimLoop
    from agentpool_worker.roster import Roster

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5  # after Redis was not reached; the claim loop's own backoff governs claims


class ControlQueue(Protocol):
    """The part of `agentpool.queue.consumer.Consumer` that is used here."""

    async def wait(self, timeout_ms: int, *, for_work: bool = True) -> list[Control]:
        """Blocks until the bell or an order."""

    async def claim(self, limit: int) -> list[Lease]:
        """With limit 0: nothing is taken, but an idle worker is told where something is ready."""


class Listener:
    """Waits, and passes on what it hears."""

    def __init__(self, *, queue: ControlQueue, claims: ClaimLoop, roster: Roster, safety_poll_ms: int) -> None:
        self._queue = queue
        self._claims = claims
        self._roster = roster
        self._safety_poll_ms = safety_poll_ms

    async def run(self) -> None:
        """Listens for ever; ends when cancelled."""
        await together(_for_ever(self.hear_orders), _for_ever(self.hear_bell))

    async def hear_orders(self) -> None:
        """One wait for orders."""
        for control in await self._queue.wait(self._safety_poll_ms, for_work=False):
            await self._obey(control)

    async def hear_bell(self) -> None:
        """One wait for the bell. When it was silent, a claim is made anyway: a lost bell delays, never strands."""
        await self._claims.hungry.wait()
        controls = await self._queue.wait(self._safety_poll_ms, for_work=True)
        if not controls:
            self._claims.bell()
        for control in controls:
            await self._obey(control)

    async def _obey(self, control: Control) -> None:
        if isinstance(control, Wake):
            if self._claims.may_claim:
                self._claims.bell()
            else:
                await self._queue.claim(0)
            return
        execution = self._roster.find(control.job_id, control.token)
        if execution is None:  # it ended while the order was on its way
            return
        if isinstance(control, CancelJob):
            self._roster.stop(execution, Stop.CANCELLED)
        elif isinstance(control, YieldJob):
            execution.ask_to_yield(ReturnReason.PREEMPTED)


async def _for_ever(hear: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await hear()
        except QueueError as error:
            log.debug("nothing can be heard: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
