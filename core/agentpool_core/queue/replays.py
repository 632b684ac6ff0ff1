"""Replay one dead letter, alone or with the jobs that were cancelled because of it, for `inspector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.errors import InvalidJobError, RetiredPoolError, UnknownJobError
from agentpool_core.queue import scripts
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys

if TYPE_CHECKING:
    from agentpool_core.jobs import JobId, PoolRef
    from agentpool_core.queue.connection.client import RedisClient

RESTORE_CALLS_MAX = 1_000  # the maintenance restores the jobs of any larger pipeline


async def replay_job(redis: RedisClient, pool: PoolRef, job_id: JobId, *, downstream: bool) -> int:
    """Replay as `Inspector.replay` does; return the number of restored jobs.

    Raises UnknownJobError, RetiredPoolError or InvalidJobError.
    """
    reply = await scripts.REPLAY.run(redis, Keys(pool).conf, (job_id, "downstream" if downstream else ""))
    if reply == ["unknown"]:
        raise UnknownJobError(str(pool), job_id)
    if reply == ["retired"]:
        raise RetiredPoolError(str(pool))
    if reply[:1] == ["not_dead"]:
        raise InvalidJobError(
            field="job",
            value=job_id,
            problem=f"it is {' '.join(map(str, reply[1:]))}, not failed",
            remedy="replay dead letters only; submit the work again as a new job",
        )
    with Reading("replay"):
        count, more = int(reply[1]), reply[2] == 1
    for _ in range(RESTORE_CALLS_MAX if more else 0):
        reply = await scripts.REPLAY.run(redis, Keys(pool).conf, (job_id, "more"))
        with Reading("replay"):
            if reply[2] != 1:
                break
    return count
