"""What a running job asks of the queue: save my state, tell my progress, submit a child.

While Redis is away the job goes on as long as it can: progress that nobody could see is let go, and a checkpoint waits
until the state is safe. Who takes over next: `agentpool.queue.consumer` and `agentpool.queue.producer`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from agentpool.errors import QueueUnreachableError

if TYPE_CHECKING:
    from agentpool.jobs import JobRequest, Lease, Receipt
    from agentpool.queue.consumer import Consumer
    from agentpool.queue.producer import Producer

log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 1.0  # a checkpoint returns within a second of its Redis


class QueueLink:
    """The `JobLink` of a worker that runs against a real queue."""

    def __init__(self, consumer: Consumer, producer: Producer) -> None:
        self._consumer = consumer
        self._producer = producer

    async def checkpoint(self, lease: Lease, state: Any) -> None:
        """Saves the job's state, however long Redis is away: the job's own timeout ends the wait. StaleLeaseError."""
        pause = _FIRST_RETRY_SECONDS
        while True:
            try:
                return await self._consumer.checkpoint(lease, state)
            except QueueUnreachableError as error:
                log.debug("job %s waits to save its state: %s", lease.job_id, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_RETRY_SECONDS)

    async def progress(self, lease: Lease, value: Any) -> None:
        """Publishes the job's progress, unless Redis is away. Raises StaleLeaseError."""
        try:
            await self._consumer.progress(lease, value)
        except QueueUnreachableError as error:
            log.debug("progress of job %s is not published: %s", lease.job_id, error)

    async def submit(self, request: JobRequest) -> Receipt:
        """Submits a job to the worker's own pool."""
        return await self._producer.submit(request)
