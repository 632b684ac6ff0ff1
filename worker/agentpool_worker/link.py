"""What a running job asks of the queue: save my state, tell my progress, submit a child.

Who takes over next: `agentpool.queue.consumer` and `agentpool.queue.producer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentpool.jobs import JobRequest, Lease, Receipt
    from agentpool.queue.consumer import Consumer
    from agentpool.queue.producer import Producer


class QueueLink:
    """The `JobLink` of a worker that runs against a real queue."""

    def __init__(self, consumer: Consumer, producer: Producer) -> None:
        self._consumer = consumer
        self._producer = producer

    async def checkpoint(self, lease: Lease, state: Any) -> None:
        """Saves the job's state. Raises StaleLeaseError."""
        await self._consumer.checkpoint(lease, state)

    async def progress(self, lease: Lease, value: Any) -> None:
        """Publishes the job's progress. Raises StaleLeaseError."""
        await self._consumer.progress(lease, value)

    async def submit(self, request: JobRequest) -> Receipt:
        """Submits a job to the worker's own pool."""
        return await self._producer.submit(request)
