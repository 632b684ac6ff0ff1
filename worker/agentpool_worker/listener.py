"""Hears the bell and the orders: one blocked connection, so an idle worker costs nothing and starts in milliseconds.

The bell wakes one waiter, so it is listened for only while a job could start here; orders (cancel, yield) are
listened for always. A full worker that gets a slot free claims by itself, and listens for the bell again once it
finds the queue empty.
Who takes over next: `agentpool_worker.claim_loop` claims on the bell, `agentpool_worker.roster` carries out orders.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from agentpool.errors import QueueError
from agentpool.queue.outcomes import CancelJob, Control, ReturnReason, Wake, YieldJob
from agentpool_worker.execution import Stop

if TYPE_CHECKING:
    from agentpool_worker.claim_loop import ClaimLoop
    from agentpool_worker.roster import Roster

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5  # after Redis was not reached; the claim loop's own backoff governs claims


class ControlQueue(Protocol):
    """The part of `agentpool.queue.consumer.Consumer` that is used here."""

    async def wait(self, timeout_ms: int, *, for_work: bool = True) -> list[Control]:
        """Blocks until the bell or an order."""


class Listener:
    """Waits, and passes on what it hears."""

    def __init__(self, *, queue: ControlQueue, claims: ClaimLoop, roster: Roster, safety_poll_ms: int) -> None:
        self._queue = queue
        self._claims = claims
        self._roster = roster
        self._safety_poll_ms = safety_poll_ms

    async def run(self) -> None:
        """Listens for ever; ends when cancelled."""
        while True:
            try:
                await self.run_once()
            except QueueError as error:
                log.debug("the bell cannot be heard: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def run_once(self) -> None:
        """One wait. When nothing came, the safety poll claims anyway: a lost bell delays a job, never strands it."""
        controls = await self._queue.wait(self._safety_poll_ms, for_work=self._claims.hungry)
        if not controls:
            self._claims.bell()
        for control in controls:
            self._obey(control)

    def _obey(self, control: Control) -> None:
        if isinstance(control, Wake):
            self._claims.bell()
            return
        execution = self._roster.find(control.job_id, control.token)
        if execution is None:  # it ended while the order was on its way
            return
        if isinstance(control, CancelJob):
            self._roster.stop(execution, Stop.CANCELLED)
        elif isinstance(control, YieldJob):
            execution.ask_to_yield(ReturnReason.PREEMPTED)
