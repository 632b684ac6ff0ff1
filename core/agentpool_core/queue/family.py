"""The jobs around a job: ancestors, which it waited for or which started it, and descendants. Bounded.

A job knows its parents as long as its record is kept. A parent knows its children that it has started as long, and the
jobs that wait for it until it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.errors import UnknownJobError
from agentpool_core.jobs import JobId
from agentpool_core.process.cancellation import results_of
from agentpool_core.queue.codec.records import HEAD_FIELDS, fields_of, job_of
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.inspector import Inspector
from agentpool_core.queue.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool_core.jobs import Job, PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.settings import PoolSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Relative:
    """A job of the family."""

    job: Job
    generation: int  # 0: the job itself; negative: ancestors; positive: descendants


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A job with its relatives."""

    relatives: tuple[Relative, ...]  # the job first, then each generation, nearest first
    complete: bool  # whether these are all that are kept


class FamilyReader:
    """Reads the families of a pool's jobs."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = Keys(pool)

    async def read(self, job_id: JobId, *, limit: int) -> Family:
        """Return a job with at most `limit` relatives. Raises UnknownJobError."""
        settings = await Inspector(self._redis).settings(self._pool)
        own = await self._jobs([job_id], settings)
        if not own:
            raise UnknownJobError(str(self._pool), job_id)
        found = {job_id: Relative(job=own[0], generation=0)}
        complete = True
        for direction in (-1, 1):
            edge, generation = own, 0
            while edge:
                generation += direction
                ids = await self._next(edge, direction, limit + 1)
                new = [each for each in dict.fromkeys(ids) if each not in found]
                room = limit + 1 - len(found)
                complete = complete and len(new) <= room
                edge = await self._jobs(new[:room], settings)
                found |= {job.job_id: Relative(job=job, generation=generation) for job in edge}
        return Family(relatives=tuple(found.values()), complete=complete)

    async def _next(self, jobs: Iterable[Job], direction: int, most: int) -> list[JobId]:
        if direction < 0:
            return [parent for job in jobs for parent in (*job.after, job.started_by) if parent is not None]
        sets = [key for job in jobs for key in (self._keys.kids(job.job_id), self._keys.started(job.job_id))]
        replies = await results_of(ask(self._redis, "SSCAN", key, "0", "COUNT", most) for key in sets)
        with Reading("sscan"):
            return [JobId(str(member)) for reply in replies for member in sorted(reply[1])]

    async def _jobs(self, ids: Iterable[JobId], settings: PoolSettings) -> list[Job]:
        """Return the records that are kept."""
        names = list(ids)
        rows = await results_of(ask(self._redis, "HMGET", self._keys.job(each), *HEAD_FIELDS) for each in names)
        limits = {"max_attempts": settings.max_attempts, "timeout_ms": settings.timeout_ms}
        jobs = []
        with Reading("hmget"):
            for job_id, values in zip(names, rows, strict=True):
                fields = {name: value for name, value in zip(HEAD_FIELDS, values, strict=True) if value is not None}
                if fields:
                    jobs.append(job_of(job_id, fields_of(fields), bodies=False, **limits))
        return jobs
