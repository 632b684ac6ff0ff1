"""Looking at queues, and setting them up. (Typed signatures; the scripts follow.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from agentpool.jobs import JobState

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from agentpool.errors import QueueError
    from agentpool.jobs import Job, JobEvent, JobId, PoolRef
    from agentpool.queue.settings import PoolSettings
    from agentpool.queue.snapshots import QueueSnapshot, WorkerSnapshot


class Inspector:
    """An observer of all pools on one Redis."""

    def __init__(self, redis: Redis) -> None: ...

    async def snapshots(self, pools: Sequence[PoolRef]) -> dict[PoolRef, QueueSnapshot | QueueError]:
        """Each pool's queue, or why it is unknown, in one pipelined read. Never raises QueueError itself."""
        raise NotImplementedError

    async def configure(self, pool: PoolRef, settings: PoolSettings) -> None:
        """Publishes settings; wakes workers where they changed. Doing it twice changes nothing."""
        raise NotImplementedError

    async def workers(self, pool: PoolRef) -> list[WorkerSnapshot]:
        """The pool's registered workers."""
        raise NotImplementedError

    def pressure(self) -> AsyncIterator[PoolRef]:
        """Names a pool each time a submit finds no free slot (at most ten times a second a pool).

        Ends never; raises QueueUnreachableError when the connection is lost.
        """
        raise NotImplementedError

    async def job(self, pool: PoolRef, job_id: JobId) -> Job:
        """A job's whole record. Raises UnknownJobError."""
        raise NotImplementedError

    async def jobs(self, pool: PoolRef, state: JobState, *, limit: int = 100) -> list[Job]:
        """Jobs that wait, run or are dead, oldest first (succeeded, cancelled and expired ones are only in events)."""
        raise NotImplementedError

    async def dead(self, pool: PoolRef, *, limit: int = 100) -> list[Job]:
        """Dead letters, oldest first."""
        raise NotImplementedError

    async def replay(self, pool: PoolRef, job_id: JobId) -> None:
        """Puts a dead letter back into the queue, with all its attempts."""
        raise NotImplementedError

    async def events(self, pool: PoolRef, *, after: str = "0", limit: int = 1000) -> list[JobEvent]:
        """Events after a place in the stream, oldest first."""
        raise NotImplementedError

    async def purge(self, pool: PoolRef) -> int:
        """Deletes all keys of the pool, in slices; returns how many."""
        raise NotImplementedError
