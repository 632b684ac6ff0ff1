"""End of a worker with a blocked event loop: report the blocking job, release all jobs, end the process.

The lease is given up through the side loop's connection, so other workers get the jobs at once. A worker with its own
process then ends the process without waiting for the blocked loop; the supervisor starts the next worker. A worker
inside a program stays, and registers again when the loop runs. `agentpool_worker.supervision.supervisor` takes over
next.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Protocol

from agentpool_core.errors import QueueError
from agentpool_worker.supervision.exits import RESTART

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import JobId, WorkerId

log = logging.getLogger(__name__)

_REPORT_SECONDS = 5.0  # for the report to the queue; without a report, the lease expires later


class CrashQueue(Protocol):
    """The part of `agentpool_core.queue.consumer.Consumer` that is used here."""

    worker: WorkerId

    async def report_crash(self, how: str, culprits: Sequence[JobId] = ()) -> int:
        """Release all held jobs, with a loss for the culprits."""


class Surrender:
    """Gives a worker's lease up from the side loop."""

    def __init__(self, queue: CrashQueue, *, ends_process: bool) -> None:
        self._queue = queue
        self._ends_process = ends_process

    async def __call__(self, how: str, culprits: Sequence[JobId]) -> None:
        """Report the crash and end the process."""
        try:
            async with asyncio.timeout(_REPORT_SECONDS):
                taken = await self._queue.report_crash(
                    f"worker {self._queue.worker} gave up its lease: {how}", culprits
                )
            log.error("%d jobs were released for other workers", taken)
        except (TimeoutError, QueueError) as error:
            log.error("the jobs could not be released: %s", error)  # noqa: TRY400
        if self._ends_process:
            log.critical("the process ends, and a new process starts")
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(RESTART)
