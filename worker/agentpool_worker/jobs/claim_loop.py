"""The worker's conversation with the queue: completions out, leases in, together where both are due.

The loop sleeps until an event: a completion, the bell, a free slot. Then a single round trip settles the gathered
completions and claims as many jobs as there are free slots. After a full claim the queue may hold more, so the loop
continues at once. After a short claim the queue is empty, and the free slots belong to `order_listener`: it waits for
the bell and claims the next jobs itself. Two claim tasks take turns, each with half of the slots under load: Redis
works on one half while this process works on the other. `running_jobs` starts claimed jobs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Protocol

from agentpool_core.errors import InvalidJobError, QueueError
from agentpool_core.process.cancellation import run_until_first_end
from agentpool_worker.jobs.completion_buffer import replacement_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentpool_core.jobs import Lease
    from agentpool_core.queue.completions import Completion, Room, SettleOutcome
    from agentpool_worker.jobs.completion_buffer import Batch, CompletionBuffer
    from agentpool_worker.jobs.running_jobs import RunningJobs
    from agentpool_worker.slots.semaphore import Slots
    from agentpool_worker.telemetry.metrics import WorkerMetrics

log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS = 0.05
_LONGEST_BACKOFF_SECONDS = 1.0  # a worker is back within a second after Redis
_UNFIT = (TypeError, ValueError, InvalidJobError)  # not JSON, or too large: found before anything is sent
_CLAIM_TASKS = 2
_SMALLEST_SHARE = 16  # completions or slots; fewer are not worth dividing
_LARGEST_CLAIM = 200  # jobs; keeps a script call to a few milliseconds of Redis


class ClaimQueue(Protocol):
    """The part of `agentpool_core.queue.consumer.Consumer` that is used here."""

    async def claim(self, limit: int | Room) -> list[Lease]:
        """Take up to `limit` jobs, or those that fit into a room."""

    def compare_holdings(self) -> None:
        """Make the next claim compare the running jobs with the queue's records."""

    async def settle(self, completions: Sequence[Completion]) -> list[SettleOutcome]:
        """End attempts."""

    async def exchange(
        self, completions: Sequence[Completion], limit: int | Room
    ) -> tuple[list[SettleOutcome], list[Lease]]:
        """Settle and claim in a single round trip."""


class ClaimLoop:
    """Carries completions and leases until stopped."""

    def __init__(self, *, queue: ClaimQueue, slots: Slots, metrics: WorkerMetrics) -> None:
        self._queue = queue
        self._slots = slots
        self._metrics = metrics
        self._turn = asyncio.Event()
        self._all_answered = asyncio.Event()
        self._calls_in_flight = 0  # claim tasks that wait for an answer
        self._reserved = 0  # slots that they, or the listener's wait, have asked jobs for
        self._rings = 0  # reasons so far to think that there is something to claim
        self._unreached = False  # the last answer was lost
        self.buffer: CompletionBuffer  # set by `join`: the three are mutually dependent
        self.running_jobs: RunningJobs
        self.claiming = False
        self.maybe_work = True
        self.hungry = asyncio.Event()  # a job could start here and none is known to wait: listen for the bell
        self.break_off: Callable[[], bool] = lambda: False  # ends the listener's wait, which releases its slots
        self._comparing = False  # the leases in the queue may differ from the running jobs

    def join(self, buffer: CompletionBuffer, running_jobs: RunningJobs) -> None:
        """Connect the loop with its completion buffer and its running jobs."""
        self.buffer = buffer
        self.running_jobs = running_jobs

    @property
    def packs(self) -> bool:
        """Whether jobs take more than a slot, so that no claim may have a part of what is free."""
        return self._slots.packs

    @property
    def may_claim(self) -> bool:
        """Whether a job could start here now."""
        return self.claiming and self._slots.free > 0

    def signal(self) -> None:
        """Request a turn."""
        self._turn.set()

    def bell(self) -> None:
        """Note that there may be something to claim."""
        self.maybe_work = True
        self.hungry.clear()
        self._rings += 1
        self._turn.set()

    def start_claiming(self) -> None:
        """Fill free slots from now on."""
        self.claiming = True
        self.bell()

    def stop_claiming(self) -> None:
        """Claim nothing from now on; completions are still sent."""
        self.claiming = False
        self.hungry.clear()
        self.break_off()

    def release_excess(self) -> None:
        """End the listener's wait if it keeps more slots than are free."""
        if self._reserved > self._slots.free:
            self.break_off()

    def keep_free(self) -> tuple[int, int]:
        """Return the number of slots kept for the listener's wait until `release`, and `rings` for `handle_claim`."""
        limit = min(self._slots.free - self._reserved, _LARGEST_CLAIM) if self.claiming else 0
        self._reserved += max(0, limit)
        return limit, self._rings

    def release(self, limit: int) -> None:
        """Release the slots of the listener's wait."""
        self._reserved -= limit
        if self.maybe_work:  # a bell that rang meanwhile found no slot that was not kept
            self._turn.set()

    def compare_holdings(self) -> None:
        """Compare the running jobs with the queue's records, once no call that may bring or end jobs is in flight."""
        self._queue.compare_holdings()
        if not self.break_off():  # the end of that wait compares
            self._comparing = True
            self._turn.set()

    async def wait_for_answers(self) -> None:
        """Return when no claim waits for an answer."""
        while self._calls_in_flight:
            await self._all_answered.wait()

    async def run(self) -> None:
        """Take turns for ever, through outages; ends when cancelled."""
        await run_until_first_end(*(self._take_turns() for _ in range(_CLAIM_TASKS)))

    async def _take_turns(self) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            await self._turn.wait()
            self._turn.clear()
            if (self._unreached or self._comparing) and self._calls_in_flight:
                # After a lost answer, or in doubt, the queue returns the jobs that this worker does not know. The
                # answer of the second claim task must be in before that, or its jobs would count as unknown too.
                await self._all_answered.wait()
                self._turn.set()
                continue
            if await self._take_turn():
                backoff = _FIRST_BACKOFF_SECONDS
            else:
                await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - spreads workers, hides nothing
                backoff = min(backoff * 2, _LONGEST_BACKOFF_SECONDS)

    async def _take_turn(self) -> bool:
        """Run a turn; return whether the queue was reachable."""
        self._calls_in_flight += 1
        self._all_answered.clear()
        try:
            await self.run_once()
        except QueueError as error:
            if not self._unreached:
                log.warning("the queue does not answer; finished jobs are kept until it does: %s", error)
            self._unreached = True
            self.break_off()
            self.bell()  # the result of the call is unknown
            return False
        finally:
            self._calls_in_flight -= 1
            if not self._calls_in_flight:
                self._all_answered.set()
        if self._unreached:
            self._unreached = False
            self._metrics.reconnects += 1
            log.info("the queue answers again")
        return True

    async def run_once(self) -> None:
        """Run a round trip, or none if nothing is due. Raises QueueError; completions are kept then."""
        if self._comparing:
            await self._queue.claim(0)
            self._comparing = False
        share = max(_SMALLEST_SHARE, -(-self._slots.total // _CLAIM_TASKS))
        limit = self._next_limit(share)
        rings = self._rings
        if not self.buffer.pending and not (limit > 0 and self.maybe_work):
            return
        batch = self.buffer.take(share)
        self._reserved += max(0, limit)
        try:
            if self.buffer.pending or (self.maybe_work and self._slots.free > self._reserved):
                self._turn.set()  # the second claim task handles the rest
            leases = await (self._carry(batch, limit) if batch else self._queue.claim(self._asked(limit)))
        finally:
            self._reserved -= max(0, limit)
        if limit > 0:
            self.handle_claim(leases, limit, rings)

    def _next_limit(self, share: int) -> int:
        """Return the slots to claim for. Where jobs take more than a slot, one claim at a time has all that is free."""
        if not self.claiming:
            return 0
        if not self._slots.packs:
            return min(self._slots.free - self._reserved, share, _LARGEST_CLAIM)
        if not self._reserved:
            return self._slots.free
        if self.buffer.pending:  # the claim in flight does not know what these have left: it is followed by another
            self.maybe_work = True
            self._rings += 1
        return 0

    def _asked(self, limit: int) -> int | Room:
        return self._slots.room if self._slots.packs else limit

    def handle_claim(self, leases: list[Lease], limit: int, rings: int) -> None:
        """Handle the answer to a claim: start the jobs, and decide whether more may be ready.

        `rings`: number of bells at the time of the call.
        """
        if not self.claiming:  # the worker leaves, and the claim was in flight
            self.running_jobs.requeue(leases)
            return
        if leases:
            self.running_jobs.start(leases)
        if len(leases) == limit:
            self.bell()
        elif rings != self._rings:  # the bell may have rung for a job that came after the claim
            self._turn.set()
        else:
            self.maybe_work = False
            if self.may_claim:
                self.hungry.set()

    async def _carry(self, batch: Batch, limit: int) -> list[Lease]:
        try:
            if limit > 0:
                outcomes, leases = await self._queue.exchange(batch.completions, self._asked(limit))
            else:
                outcomes, leases = await self._queue.settle(batch.completions), []
        except _UNFIT:
            await self._carry_each(batch)
            return []
        except BaseException:  # for example cancelled: unconfirmed completions are kept
            self.buffer.keep(batch)
            raise
        self.buffer.mark_delivered(batch, outcomes)
        return leases

    async def _carry_each(self, batch: Batch) -> None:
        """Send each completion alone after an encoding failure, so only the faulty completion is affected."""
        waiting = batch.split()
        try:
            while waiting:
                waiting[0], outcomes = await self._settle_alone(waiting[0])
                self.buffer.mark_delivered(waiting.pop(0), outcomes)
        except BaseException:
            for single in reversed(waiting):
                self.buffer.keep(single)
            raise
        self.bell()

    async def _settle_alone(self, single: Batch) -> tuple[Batch, list[SettleOutcome]]:
        """Send a single completion; return it with the outcome."""
        try:
            return single, await self._queue.settle(single.completions)
        except _UNFIT as error:
            single = single.with_replacement(replacement_for(single.completions[0], error))
            return single, await self._queue.settle(single.completions)
