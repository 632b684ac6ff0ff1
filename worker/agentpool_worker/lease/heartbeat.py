"""Renew the worker's lease, and so the lease of every job: a single write for any number of jobs.

The heartbeat lives in the side loop with a separate connection, so no handler can starve it. A renewal is due after a
third of the lease, so two may fail in a row before the lease is in danger; while Redis is away the renewal is retried
more often. If the lease has expired, the jobs belong to other workers: they are stopped, and the worker registers
again. An absent Redis comes back; a Redis that refuses the user for longer than the lease has a new password, so the
process ends, and its successor gets the new password. `agentpool_worker.wiring` connects it with the parts that stop
the jobs of a lost lease and apply changed settings.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from agentpool_core.errors import QueueAccessError, QueueError, UnknownPoolError
from agentpool_core.queue.formats import NewerFormatError
from agentpool_worker.lease.agreement import Agreement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from agentpool_core.jobs import JobId
    from agentpool_core.queue.completions import Hold, Renewal
    from agentpool_core.queue.settings import PoolSettings
    from agentpool_worker.lease.watchdog import Watchdog
    from agentpool_worker.slots.semaphore import Slots
    from agentpool_worker.telemetry.metrics import WorkerMetrics

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
_RETRY_PER_LEASE = 20  # while Redis is away


class LeaseQueue(Protocol):
    """The part of `agentpool_core.queue.consumer.Consumer` that is used here."""

    async def register(self, *, slots: int, host: str) -> PoolSettings:
        """Take out the worker's lease."""

    async def settings(self) -> PoolSettings:
        """Return the pool's settings."""

    async def renew(self, *, slots: int, running: int, note: str = "") -> Renewal:
        """Extend the lease."""


class Heartbeat:
    """Keeps the lease; `lost`, `changed` and `disagrees` are called in the side loop's thread."""

    def __init__(
        self,
        *,
        queue: LeaseQueue,
        slots: Slots,
        metrics: WorkerMetrics,
        watchdog: Watchdog,
        impediment: Callable[[], str | None],
        settings: PoolSettings,
        host: str,
        lost: Callable[[], None],
        changed: Callable[[PoolSettings], None],
        holdings: Callable[[], Mapping[JobId, Hold]],
        disagrees: Callable[[], None],
        publish: Callable[[PoolSettings], Awaitable[None]] | None = None,
    ) -> None:
        self._queue = queue
        self._slots = slots
        self._metrics = metrics
        self._watchdog = watchdog
        self._impediment = impediment  # reason why the worker claims no jobs; None: claims jobs
        self._settings = settings
        self._host = host
        self._lost = lost
        self._changed = changed
        self._holdings = holdings
        self._disagrees = disagrees
        self._publish = publish  # restores the settings of a pool that Redis has lost; None: the operator does so
        self._unregistered = False  # the lease is lost, and none was taken out since
        self._agreement = Agreement()
        self._renewed_at = time.monotonic()
        self._steady_since: float | None = self._renewed_at  # None: the last renewal failed
        self._turn = asyncio.Lock()  # held while Redis is asked
        self._retired = False

    @property
    def lease_seconds(self) -> float:
        """How long the lease lasts after a renewal."""
        return self._settings.lease_ms / 1000

    @property
    def silent_seconds(self) -> float:
        """How long ago Redis last confirmed the lease."""
        return time.monotonic() - self._renewed_at

    @property
    def steady(self) -> bool:
        """Whether renewals have succeeded for a whole lease, so that other workers have had time to renew too.

        After an outage every worker's lease has expired, although all of them live: an immediate recovery would take
        jobs from live workers.
        """
        return self.steady_in_seconds <= 0.0

    @property
    def steady_in_seconds(self) -> float:
        """Return the seconds until then, if all renewals succeed; 0.0 when steady."""
        if self._steady_since is None:
            return self.lease_seconds
        return max(0.0, self._steady_since + self.lease_seconds - time.monotonic())

    async def run(self) -> None:
        """Renew for ever; runs in the side loop.

        Raises QueueAccessError once the user is refused past the lease, and NewerFormatError.
        """
        while True:
            renewed = await self.run_once()
            await asyncio.sleep(self.lease_seconds / (RENEWALS_PER_LEASE if renewed else _RETRY_PER_LEASE))

    async def retire(self) -> None:
        """Send nothing to Redis from now on, and return once no request is in flight; runs in the side loop.

        The worker is about to give up its lease. A later renewal would find the lease lost, and register a worker that
        no longer exists.
        """
        self._retired = True
        async with self._turn:
            pass

    async def run_once(self) -> bool:
        """Renew once; return whether Redis confirmed the lease."""
        async with self._turn:
            return self._retired or await self._renew()

    async def _renew(self) -> bool:
        if self._watchdog.given_up:  # the jobs cannot continue here, so other workers may have them
            self._steady_since = None
            return False
        try:
            before = self._holdings()
            note = self._impediment() or ""
            slots = 0 if note else self._slots.total
            renewal = await self._queue.renew(slots=slots, running=self._slots.jobs, note=note)
            await self._act_on(renewal, before)
        except NewerFormatError:
            raise
        except QueueError as error:
            self._record_failure(error)
            if isinstance(error, QueueAccessError) and self.silent_seconds > self.lease_seconds:
                raise
            return False
        self._record_renewal()
        return True

    async def _act_on(self, renewal: Renewal, before: Mapping[JobId, Hold]) -> None:
        if not renewal.still_registered and not self._retired:
            await self._register_again()
            return
        if self._agreement.broken(before, renewal.held, self._holdings()):
            self._disagrees()
        if renewal.settings_revision != self._settings.revision:
            self._apply(await self._queue.settings())

    def _record_renewal(self) -> None:
        if self._steady_since is None:
            log.info("the lease is renewed again after %.1f s", self.silent_seconds)
            self._steady_since = time.monotonic()
        self._renewed_at = time.monotonic()
        self._metrics.renewals += 1

    def _record_failure(self, error: QueueError) -> None:
        if self._steady_since is not None:
            log.warning("the lease could not be renewed, %.1f s are left: %s", self._remaining_seconds(), error)
        self._steady_since = None
        self._metrics.renewal_failures += 1

    def _remaining_seconds(self) -> float:
        return max(0.0, self.lease_seconds - self.silent_seconds)

    async def _register_again(self) -> None:
        """Register again after an expired lease. The jobs are stopped before new claims under the new lease."""
        if not self._unregistered:  # once, after any number of tries
            self._unregistered = True
            log.error(
                "the lease ran out %.1f s after its last renewal: the queue recovered %d jobs; registering again",
                self.silent_seconds, self._slots.jobs,
            )  # fmt: skip
            self._metrics.leases_lost += 1
            self._lost()
        self._apply(await self._register())
        self._unregistered = False
        self._steady_since = time.monotonic()

    async def _register(self) -> PoolSettings:
        try:
            return await self._queue.register(slots=self._slots.total, host=self._host)
        except UnknownPoolError:  # Redis has lost everything
            if self._publish is None:
                raise
        log.warning("Redis has lost the pool, and no operator publishes settings: the last settings are published")
        await self._publish(self._settings)
        return await self._queue.register(slots=self._slots.total, host=self._host)

    def _apply(self, settings: PoolSettings) -> None:
        if settings.revision != self._settings.revision:
            self._settings = settings
            self._changed(settings)
