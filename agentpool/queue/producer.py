"""Submitting and cancelling jobs. (Typed signatures; the scripts follow.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from agentpool.jobs import JobId, JobRequest, PoolRef, Receipt
    from agentpool.queue.outcomes import CancelOutcome


class Producer:
    """The submitter's side of one pool's queue."""

    def __init__(self, redis: Redis, pool: PoolRef) -> None: ...

    async def submit(self, request: JobRequest) -> Receipt:
        """Keeps one job."""
        raise NotImplementedError

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[Receipt]:
        """Keeps many jobs, in order."""
        raise NotImplementedError

    async def cancel(self, job_id: JobId, *, reason: str = "requested") -> CancelOutcome:
        """Ends a waiting job; asks the worker of a running one to stop it."""
        raise NotImplementedError
