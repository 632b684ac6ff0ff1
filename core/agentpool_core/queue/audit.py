"""Contradictions between a pool's keys, and a whole audit by `scripts/audit.lua`.

Scripts keep the keys consistent. Redis can lose single keys (eviction, a deleted key), and a worker can hold a job for
longer than allowed. Workers' maintenance finds and resolves the same contradictions in small parts. `agentpool doctor`
shows the audit of a pool, and repairs it on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agentpool_core.queue import scripts
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient


class Contradiction(StrEnum):
    """Kind of a contradiction, and its resolution."""

    COUNTER = "counter"  # a counter differs from the streams and leases: counted again
    JOB_GONE = "job_gone"  # an entry without a job: dropped, and its slot is free; a job found nowhere else ends
    MISPLACED = "misplaced"  # an entry under a consumer that differs from the record: moved to the record's
    ORDER_LOST = "order_lost"  # a job that waits for its time or for quarantine is missing in the order: added again
    WORKER_GONE = "worker_gone"  # a job runs under a worker that is not registered: requeued, no attempt counts
    WORKER_LOST = "worker_lost"  # a worker's lease expired long ago without recovery: its jobs are recovered
    OVERDUE = "overdue"  # a job runs for longer than its timeout and its worker's grace: a failed attempt
    PARENT_GONE = "parent_gone"  # the parents of a blocked job have ended or are gone: it starts or is cancelled
    MEMBER_GONE = "member_gone"  # a set names a job that is gone or elsewhere: removed; a job found nowhere else ends
    MISCOUNTED = "miscounted"  # a limit counts a job that does not run, or does not count one that does: corrected
    UNREADABLE = "unreadable"  # a record with foreign content: the job is a dead letter


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """A contradiction."""

    kind: Contradiction
    what: str  # the id of a job, the name of a worker, or a counter


def disagreements(flat: Sequence[str]) -> tuple[Disagreement, ...]:
    """Return the disagreements in a script's reply, which are pairs."""
    return tuple(
        Disagreement(kind=Contradiction(kind), what=what) for kind, what in zip(flat[::2], flat[1::2], strict=True)
    )


async def audit(redis: RedisClient, pool: PoolRef, *, repair: bool = False) -> list[Disagreement]:
    """Audit the whole pool, part by part; return the contradictions, and resolve them if `repair` is set.

    Each part is a script, so it never meets a job in transition. Raises QueueError.
    """
    found: list[Disagreement] = []
    cursor, verb = "", "repair" if repair else "report"
    while True:
        reply = await scripts.AUDIT.run(redis, Keys(pool).conf, (cursor, verb))
        with Reading("audit"):
            before, cursor = cursor, str(reply[0])
            found += disagreements(reply[1:])
        if cursor in {"", before}:
            return found
