"""What goes in and comes out at the worker's side of the queue: completions, outcomes, orders.

Plain values; the names that scripts return are the values of the enums here. Who takes over next:
`agentpool.queue.consumer` turns them into script calls and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from agentpool.jobs import JobId, Json, LeaseToken
from agentpool.queue.audit import Disagreement


class ReturnReason(StrEnum):
    """Why a job is handed back unfinished; the attempt does not count."""

    DRAIN = "drain"  # the worker is stopping
    PREEMPTED = "preempted"  # it yielded to a critical job
    EXHAUSTED = "exhausted"  # the worker leaves because its memory ran out: a loss, of which the first costs no attempt
    UNFIT = "unfit"  # the worker cannot do its part of running it; the job waits as one that is put off
    UNKNOWN_KIND = "unknown_kind"  # the worker has no handler for it; another may, and the job waits for one
    OVERLOADED = "overloaded"  # not now: it waits `after_ms`; for longer than its timeout in all, it counts as failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Succeeded:
    """The attempt ended with a result."""

    job_id: JobId
    token: LeaseToken
    result: Json = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The attempt ended with an error."""

    job_id: JobId
    token: LeaseToken
    error: str  # one line or a traceback; cut to `MAX_ERROR_CHARS`
    retry: bool = True  # False: dead at once, whatever attempts are left
    retry_after_ms: int | None = None  # None: the pool's backoff
    reason: str = ""  # of a dead letter, in one word for machines: undecodable


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """The attempt was stopped because the job was cancelled."""

    job_id: JobId
    token: LeaseToken
    reason: str = "requested"


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """The job goes back to its place in the queue, unfinished."""

    job_id: JobId
    token: LeaseToken
    reason: ReturnReason
    checkpoint: Json = None  # state for the next attempt; None: keep what was saved before
    after_ms: int | None = None  # OVERLOADED only: the least wait before the next attempt; None: the pool's backoff
    said: str = ""  # OVERLOADED: what the handler said; UNFIT, EXHAUSTED: what the worker lacks; for the job's error


Completion: TypeAlias = Succeeded | Failed | Cancelled | Returned


class SettleOutcome(StrEnum):
    """What the queue made of a completion."""

    APPLIED = "applied"  # succeeded: the result is kept
    RETRYING = "retrying"  # failed: runs again after its backoff
    DEAD = "dead"  # failed for good: a dead letter
    RETURNED = "returned"  # back in its place
    CANCELLED = "cancelled"  # ended as cancelled
    STALE = "stale"  # refused: the lease has passed on; nothing was changed


class CancelOutcome(StrEnum):
    """What the queue made of a request to cancel."""

    CANCELLED = "cancelled"  # it was waiting and has ended
    REQUESTED = "requested"  # it is running: its worker was told
    FINISHED = "finished"  # it had ended before


@dataclass(frozen=True, kw_only=True, slots=True)
class Wake:
    """There may be something to claim."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelJob:
    """Stop this attempt and settle it as Cancelled."""

    job_id: JobId
    token: LeaseToken


@dataclass(frozen=True, kw_only=True, slots=True)
class YieldJob:
    """Hand the job back at its next checkpoint: a critical job waits for the slot."""

    job_id: JobId
    token: LeaseToken


Control: TypeAlias = Wake | CancelJob | YieldJob


class Place(NamedTuple):
    """Where a job is in the queue, from when it became ready until it ends."""

    stream: str  # route:priority
    entry: str  # its entry's id


class Hold(NamedTuple):
    """A worker's hold on a job."""

    token: LeaseToken
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewal:
    """The answer to a heartbeat."""

    settings_revision: str  # differs from the worker's: read the settings again
    still_registered: bool  # False: the lease had run out and the jobs were taken back; drop them and register
    held: frozenset[Place] = frozenset()  # the entries that the queue holds for the worker


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciliation:
    """The differences that were found between the jobs that a worker holds and those that the queue leases to it."""

    returned: int = 0  # jobs handed back, since the worker does not hold them; no attempt counts
    dropped: int = 0  # entries dropped whose job is gone from Redis
    corrected: int = 0  # counters of the pool that were wrong
    disowned: tuple[tuple[JobId, LeaseToken], ...] = ()  # jobs that the worker must stop: it holds no lease on them

    @property
    def differed(self) -> bool:
        """Whether there was any."""
        return bool(self.returned or self.dropped or self.corrected or self.disowned)


@dataclass(frozen=True, kw_only=True, slots=True)
class Maintenance:
    """What one round of upkeep did, and when the next is due."""

    recovered: int  # jobs taken back from workers whose lease ran out
    promoted: int  # scheduled jobs that became ready
    expired: int  # jobs whose ttl ended their wait
    next_due_ms: int | None  # until a job is due or a silent worker's lease ends; 0: more is due now; None: neither
    resolved: tuple[Disagreement, ...] = ()  # contradictions between the pool's keys that were found and resolved
