"""Groups of children, for the running job that has started them: results, and changes of children that did not succeed.

`scripts/lib/groups.lua` keeps how each child ended, until the record of the parent ends. `reports` adds this class to
the consumer, and the worker's `durable.children` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agentpool_core.errors import StaleLeaseError
from agentpool_core.jobs import JobId, JobState
from agentpool_core.queue import scripts
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading

if TYPE_CHECKING:
    from agentpool_core.jobs import Lease, WorkerId
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.keys import Keys

MAX_RESULT_BYTES = 16 * 1024 * 1024  # of the results of all children of a job, as in lib/groups.lua
CHILDREN_A_READ = 100
CHILDREN_A_CHANGE = 100


class GroupChange(StrEnum):
    """A change of children of a group."""

    STOP = "stop"  # cancel children that have not ended
    CLEAR = "clear"  # forget the ends of children that did not succeed
    RERUN = "rerun"  # replay cleared children that have ended


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildEnd:
    """How a child ended."""

    state: JobState
    text: str  # of a child that succeeded: its result (JSON); else its error or reason


class GroupReports:
    """Groups of a worker's running jobs."""

    _redis: RedisClient
    _keys: Keys
    _conf: str
    worker: WorkerId

    async def child_ends(self, lease: Lease, group: str, size: int) -> list[ChildEnd | None]:
        """Return how the children of a group ended, by number; None: not yet."""
        ends: list[ChildEnd | None] = []
        for start in range(0, size, CHILDREN_A_READ):
            fields = [f"{group}:{number}" for number in range(start, min(start + CHILDREN_A_READ, size))]
            texts = await ask(self._redis, "HMGET", self._keys.group(lease.job_id), *fields)
            with Reading("hmget"):
                ends += [None if text is None else _end_of(str(text)) for text in texts]
        return ends

    async def change_group(
        self, lease: Lease, change: GroupChange, group: str, ids: Sequence[tuple[int, JobId]], how: int | str
    ) -> tuple[int, list[int]]:
        """Change children, in steps of bounded size. `how`: the run, or the reason of a stop.

        Returns the number of children that have not ended, and the numbers of children without a record. Safe to
        repeat. Raises StaleLeaseError if the lease has passed to a different worker.
        """
        left = 0
        gone: list[int] = []
        for start in range(0, len(ids), CHILDREN_A_CHANGE):
            args: list[scripts.Arg] = [lease.job_id, lease.token, self.worker, change.value, group, how]
            for number, job_id in ids[start : start + CHILDREN_A_CHANGE]:
                args += (number, job_id)
            reply = await scripts.GROUP.run(self._redis, self._conf, args)
            if reply == ["stale"]:
                raise StaleLeaseError(lease.job_id, lease.token)
            with Reading("group"):
                left = int(reply[1])
                gone += map(int, reply[2:])
        return left, gone


def _end_of(text: str) -> ChildEnd:
    state, _, rest = text.partition(" ")
    return ChildEnd(state=JobState(state), text=rest)
