"""Contradictions between a pool's keys: what they can be, and a whole audit by `scripts/audit.lua`.

Scripts keep the keys together. Redis can lose one without the other (eviction, a deleted key), and a worker can hold a
job for longer than it may. Workers' upkeep finds and resolves the same contradictions in small parts.
Who takes over next: `agentpool doctor` shows the audit of a pool, and repairs it on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agentpool.queue import scripts
from agentpool.queue.faults import Reading
from agentpool.queue.keys import Keys

if TYPE_CHECKING:
    from agentpool.jobs import PoolRef
    from agentpool.queue.connection import RedisClient


class Contradiction(StrEnum):
    """What contradicts what, and how it is resolved."""

    COUNTER = "counter"  # a counter differs from the streams and leases: counted again
    JOB_GONE = "job_gone"  # an entry without a job: dropped, and its slot is free
    MISPLACED = "misplaced"  # an entry is held by another than the record says: it goes where the record says
    ORDER_LOST = "order_lost"  # a job waits for its time or for quarantine and is in no order: put into it again
    WORKER_GONE = "worker_gone"  # a job runs under a worker that is not registered: handed back, no attempt counts
    WORKER_LOST = "worker_lost"  # a worker's lease ran out long ago and nobody took its jobs back: taken back
    OVERDUE = "overdue"  # a job runs for longer than its timeout and its worker's grace: a failed attempt
    PARENT_GONE = (
        "parent_gone"  # a blocked job waits for parents that have ended or are gone: it starts or is cancelled
    )
    MEMBER_GONE = "member_gone"  # a set names a job that is gone or elsewhere: the name is removed
    UNREADABLE = "unreadable"  # a record holds what no script has written: the job is a dead letter


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """One contradiction that was found."""

    kind: Contradiction
    what: str  # the id of a job, the name of a worker, or a counter


def disagreements(flat: Sequence[str]) -> tuple[Disagreement, ...]:
    """The disagreements in a script's reply, which are pairs."""
    return tuple(
        Disagreement(kind=Contradiction(kind), what=what) for kind, what in zip(flat[::2], flat[1::2], strict=True)
    )


async def audit(redis: RedisClient, pool: PoolRef, *, repair: bool = False) -> list[Disagreement]:
    """Look through the whole pool, part by part; return what was found, and resolve it where `repair` says so.

    Each part is one script, so it never meets a job on its move. Raises QueueError.
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
