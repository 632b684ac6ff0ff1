"""Inputs and outputs of the worker's side of the queue: completions, outcomes, orders.

Plain values; the enum values here are the names that scripts return. `agentpool_core.queue.consumer` converts them to
script calls and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from agentpool_core.jobs import JobId, Json, LeaseToken
from agentpool_core.queue.audit import Disagreement


class ReturnReason(StrEnum):
    """Reason of a requeue; the attempt does not count."""

    DRAIN = "drain"  # the worker is stopping
    PREEMPTED = "preempted"  # yielded to a critical job
    EXHAUSTED = "exhausted"  # the worker leaves because its memory ran out: a loss, of which the first costs no attempt
    UNFIT = "unfit"  # the worker cannot do its part of running the job; the job is deferred
    UNKNOWN_KIND = "unknown_kind"  # no handler in this worker; the job is deferred for a different worker
    OVERLOADED = "overloaded"  # deferred by `after_ms`; after its timeout in total, a failed attempt


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
    error: str  # a line or a traceback; cut to `MAX_ERROR_CHARS`
    retry: bool = True  # False: dead at once, whatever attempts are left
    retry_after_ms: int | None = None  # None: the pool's backoff
    reason: str = ""  # of a dead letter, as a word for programs: undecodable


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """The attempt was stopped because the job was cancelled."""

    job_id: JobId
    token: LeaseToken
    reason: str = "requested"


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """The job is requeued unfinished."""

    job_id: JobId
    token: LeaseToken
    reason: ReturnReason
    checkpoint: Json = None  # state for the next attempt; None: keep the last checkpoint
    after_ms: int | None = None  # OVERLOADED only: the least wait before the next attempt; None: the pool's backoff
    said: str = ""  # OVERLOADED: the handler's message; UNFIT, EXHAUSTED: the worker's problem; for the job's error


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """The job waits without a slot; the attempt does not count."""

    job_id: JobId
    token: LeaseToken
    signals: tuple[tuple[str, int], ...] = ()  # name and number of each awaited signal: any of them ends the wait
    after_ms: int | None = None  # longest wait; None: no limit
    budget: str | None = None  # name of the limit that refused a call, and whose next window the job waits for


Completion: TypeAlias = Succeeded | Failed | Cancelled | Returned | Waiting


class SettleOutcome(StrEnum):
    """Effect of a completion."""

    APPLIED = "applied"  # succeeded: the result is kept
    RETRYING = "retrying"  # failed: runs again after the backoff
    DEAD = "dead"  # failed for good: a dead letter
    RETURNED = "returned"  # requeued in its place
    WAITING = "waiting"  # waits for a signal or a time, without a slot
    CANCELLED = "cancelled"  # ended as cancelled
    STALE = "stale"  # refused: the lease has passed on; nothing was changed


class CancelOutcome(StrEnum):
    """Effect of a request to cancel."""

    CANCELLED = "cancelled"  # was waiting and has ended
    REQUESTED = "requested"  # is running: its worker was asked
    FINISHED = "finished"  # had ended before


class SignalOutcome(StrEnum):
    """Effect of a signal."""

    STORED = "stored"  # kept with the job, and delivered to the next wait for its name
    DUPLICATE = "duplicate"  # a signal of this id was stored before


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
    """Requeue the job at its next checkpoint: a critical job waits for the slot."""

    job_id: JobId
    token: LeaseToken


Control: TypeAlias = Wake | CancelJob | YieldJob


class Place(NamedTuple):
    """Place of a job in the queue, from ready to ended."""

    stream: str  # route:priority
    entry: str  # id of the entry


class Hold(NamedTuple):
    """A worker's hold on a job."""

    token: LeaseToken
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What a worker has free for jobs, where some jobs take more than a slot."""

    slots: int  # free
    all_slots: int
    memory_mib: int = 0  # free GPU memory
    all_memory_mib: int = 0

    def __str__(self) -> str:
        """As the scripts read it."""
        return f"{self.slots} {self.all_slots} {self.memory_mib} {self.all_memory_mib}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewal:
    """The answer to a heartbeat."""

    settings_revision: str  # differs from the worker's: read the settings again
    still_registered: bool  # False: the lease had expired and the jobs were recovered; drop them and register
    held: frozenset[Place] = frozenset()  # the entries that the queue holds for the worker


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciliation:
    """Differences between the jobs of a worker and the jobs that the queue leases to it."""

    returned: int = 0  # requeued jobs that the worker does not hold; no attempt counts
    dropped: int = 0  # dropped entries without a job in Redis
    corrected: int = 0  # counters of the pool that were wrong
    disowned: tuple[tuple[JobId, LeaseToken], ...] = ()  # jobs without a lease, which the worker must stop

    @property
    def differed(self) -> bool:
        """Whether there was any."""
        return bool(self.returned or self.dropped or self.corrected or self.disowned)


@dataclass(frozen=True, kw_only=True, slots=True)
class Maintenance:
    """Result of a round of maintenance, and the time of the next."""

    recovered: int  # jobs of workers with an expired lease
    promoted: int  # scheduled jobs that became ready
    expired: int  # jobs with an expired TTL
    next_due_ms: int | None  # until a job is due or a silent worker's lease ends; 0: more is due now; None: neither
    resolved: tuple[Disagreement, ...] = ()  # contradictions between the pool's keys that were found and resolved
