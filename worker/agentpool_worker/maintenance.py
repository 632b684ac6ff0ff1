"""The queue's maintenance, done by any worker: due retries, expired waits, jobs of lost workers.

Every worker runs maintenance, at random moments around once a second, so no worker is special. The side loop runs it: a
blocked handler must not delay the retries of the whole pool. After an outage it recovers no jobs until the other
workers have had time to renew their leases, so live workers are not mistaken for lost. Scripts of the queue take over
next; promoted and recovered jobs ring the bell.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Protocol

from agentpool_core.errors import QueueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_core.queue.completions import Maintenance
    from agentpool_worker.lease.heartbeat import Heartbeat
    from agentpool_worker.telemetry.metrics import WorkerMetrics

log = logging.getLogger(__name__)

_SHORTEST_SECONDS = 0.02  # between rounds when more is due at once
_RETRY_SECONDS = 1.0  # after Redis was not reached


class MaintenanceQueue(Protocol):
    """The part of `agentpool_core.queue.consumer.Consumer` that is used here."""

    async def maintain(self, *, recover: bool) -> Maintenance:
        """Run a round; `recover`: recover the jobs of lost workers too."""


class MaintenanceLoop:
    """Rounds for ever; `found` is called, in the side loop's thread, when jobs became ready."""

    def __init__(
        self,
        *,
        queue: MaintenanceQueue,
        heartbeat: Heartbeat,
        metrics: WorkerMetrics,
        found: Callable[[], None],
        period_seconds: float,
    ) -> None:
        self._queue = queue
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._found = found
        self._period_seconds = period_seconds

    async def run(self) -> None:
        """Run rounds for ever, in the side loop."""
        while True:
            pause = await self.run_once()
            await asyncio.sleep(pause)

    async def run_once(self) -> float:
        """Run a round; return the seconds until the next."""
        pause = self._period_seconds * random.uniform(0.7, 1.3)  # noqa: S311 - spreads workers, hides nothing
        steady = self._heartbeat.steady
        if not steady:
            # A worker that replaces a lost worker has waited for a lease by then, and waits no further round.
            pause = min(pause, max(_SHORTEST_SECONDS, self._heartbeat.steady_in_seconds))
        try:
            done = await self._queue.maintain(recover=steady)
        except QueueError as error:
            log.debug("no maintenance: %s", error)
            return _RETRY_SECONDS
        if done.recovered:
            self._metrics.recovered += done.recovered
            log.warning("%d jobs were recovered from workers with an expired lease", done.recovered)
        if done.resolved:
            self._metrics.resolved += len(done.resolved)
            found = ", ".join(f"{each.kind} {each.what}" for each in done.resolved[:10])
            log.warning("%d contradictions in the queue were resolved: %s", len(done.resolved), found)
        if done.recovered or done.promoted:
            self._found()
        if done.next_due_ms is None:
            return pause
        return min(pause, max(_SHORTEST_SECONDS, done.next_due_ms / 1000))
