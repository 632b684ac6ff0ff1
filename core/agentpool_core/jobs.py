"""Vocabulary of a job: ids, priorities, states, the request, the receipt, the lease, the record.

Values only, without behaviour beyond validation. `agentpool_core.queue` moves jobs through their states,
`agentpool_core.client` submits them, the worker runs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType, TypeAlias

from agentpool_core.errors import SettingError

JobId = NewType("JobId", str)
WorkerId = NewType("WorkerId", str)
LeaseToken = NewType("LeaseToken", int)  # the fence: grows with every claim of a job, never returns to an old value

Json: TypeAlias = Any  # JSON: object, array, string, finite number, boolean, null

# Common grammar of kinds for submitters, handlers, and an AgentPool's routes (also read by the API server).
LONGEST_KIND = 63  # characters; keeps the CEL rule over all routes' kinds within the API server's cost limit
KIND_PATTERN = rf"[A-Za-z0-9]([A-Za-z0-9._/-]{{0,{LONGEST_KIND - 2}}}[A-Za-z0-9])?"
KIND_FORM = f"at most {LONGEST_KIND} letters, digits, '.', '_', '/' or '-', beginning and ending with a letter or digit"

MOST_TAGS = 10  # of a job
LONGEST_TAG = 63  # characters
TAG_PATTERN = rf"[A-Za-z0-9][A-Za-z0-9._:=/@-]{{0,{LONGEST_TAG - 1}}}"
TAG_FORM = (
    f"at most {LONGEST_TAG} letters, digits, '.', '_', ':', '=', '/', '@' or '-', beginning with a letter or digit"
)

LONGEST_SUBJECT = 128  # characters of a limit key or a tenant
SUBJECT_PATTERN = rf"[!-~]([ -~]{{0,{LONGEST_SUBJECT - 2}}}[!-~])?"  # printable ASCII
SUBJECT_FORM = f"1 to {LONGEST_SUBJECT} printable ASCII characters, without a blank at either end"

POOL_PART_PATTERN = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"  # of a namespace or a pool's name
_POOL_PART = re.compile(POOL_PART_PATTERN)


class Priority(StrEnum):
    """Urgency of a job; aging turns patience into urgency."""

    CRITICAL = "critical"  # goes first; may ask a preemptible job to yield its slot
    TASK = "task"  # the normal case
    INFO = "info"  # optional; expires after a long wait


class Durability(StrEnum):
    """Where a submitted job must be before the submit returns."""

    LOCAL = "local"  # in the memory of the primary, as its settings keep it
    FSYNC = "fsync"  # on the disk of the primary
    REPLICA = "replica"  # in the memory of at least one replica


class JobState(StrEnum):
    """State of a job; docs/state-machine.md draws the transitions."""

    SCHEDULED = "scheduled"  # waits for its time: a delay, or the backoff before a retry
    BLOCKED = "blocked"  # waits for its parents to end
    QUEUED = "queued"  # ready for the next free slot
    RUNNING = "running"  # leased to a worker
    WAITING = "waiting"  # has started, and waits for a signal or a time, without a slot
    SUCCEEDED = "succeeded"  # ended with a result
    FAILED = "failed"  # ended without: the dead letter, can be replayed
    CANCELLED = "cancelled"  # ended on request, or because a parent did not succeed
    EXPIRED = "expired"  # ended before the start: its ttl passed while it waited

    @property
    def terminal(self) -> bool:
        """Whether the job has ended for good (a dead letter until replayed)."""
        return self in _TERMINAL


_TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


class AfterCondition(StrEnum):
    """Ends of the parents after which a job starts; otherwise it is cancelled."""

    SUCCEEDED = "succeeded"  # all have succeeded
    FINISHED = "finished"  # all have ended; results are those of the parents that succeeded
    FAILED = "failed"  # all have ended, and at least one did not succeed


class OnConflict(StrEnum):
    """What happens when the idempotency key of a job belongs to an earlier job."""

    REFUSE = "refuse"  # the same body gives the earlier job, also after its end; a different body is refused
    KEEP = "keep"  # the earlier job stands for the new one, until it has ended
    REPLACE = "replace"  # an earlier job that has not started is cancelled; one that has started goes on
    CANCEL_RUNNING = "cancel_running"  # an earlier job that has not ended is cancelled, also while it runs


@dataclass(frozen=True, order=True, slots=True)
class PoolRef:
    """A pool's full name; its text is `namespace/name`."""

    namespace: str
    name: str

    def __post_init__(self) -> None:
        """Refuse names that Kubernetes would refuse."""
        for part, value in (("namespace", self.namespace), ("name", self.name)):
            if not _POOL_PART.fullmatch(value):
                raise SettingError(
                    field=f"pool {part}",
                    value=value,
                    problem="not a Kubernetes name",
                    remedy="use lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
                )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str, *, default_namespace: str = "default") -> PoolRef:
        """Return the pool of `namespace/name`, or of `name` in the default namespace.

        Raises SettingError for any other text.
        """
        namespace, slash, name = text.partition("/")
        return cls(namespace, name) if slash else cls(default_namespace, text)

    @classmethod
    def parse_untrusted(cls, text: str) -> PoolRef | None:
        """Return the pool of a name that any user may have written; None for an invalid name."""
        try:
            return cls.parse(text)
        except SettingError:
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupMember:
    """A child's place in a group: children that a job starts together, and waits for without a slot."""

    group: str  # hexadecimal; unique within the parent
    number: int  # of this child, from 0
    size: int  # children of the group
    fail_fast: bool  # the parent's wait ends with the first child that does not succeed
    max_running: int | None = None  # children of the group that run at once; None: no limit of the group's own


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedBy:
    """The running job that starts a job."""

    job_id: JobId
    inherit_tenant: bool = False
    inherit_tags: bool = False
    member: GroupMember | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRequest:
    """A submitter's request. The producer checks it before anything is written."""

    kind: str  # names the handler and picks the route; matches KIND_PATTERN
    payload: Json = None  # passed to the handler unchanged
    priority: Priority = Priority.TASK
    job_id: JobId | None = None  # None: generated; a known id with the same body returns the first job
    idempotency_key: str | None = None  # same key and body: the first job; same key, different body: a conflict
    on_conflict: OnConflict = OnConflict.REFUSE  # with a job that has the idempotency key
    limit_key: str | None = None  # limits by key apply to all jobs with the same text together
    tenant: str | None = None  # on whose behalf the job runs: limits by tenant apply to all jobs of the tenant together
    tokens: int | None = None  # of models, expected to be used, which rates of tokens count; None: the route's
    after: tuple[JobId, ...] = ()  # jobs that must end first
    after_condition: AfterCondition = AfterCondition.SUCCEEDED  # of `after`
    delay_ms: int = 0  # not before this long from now
    ttl_ms: int | None = None  # longest wait for the first start; None: the pool's setting for the priority
    timeout_ms: int | None = None  # longest run of an attempt; None: the pool's setting
    max_attempts: int | None = None  # None: the pool's setting
    preemptible: bool = False  # may be asked to yield at a checkpoint when a critical job finds no free slot
    trace: Mapping[str, str] = field(default_factory=dict)  # W3C trace headers, handed to the handler
    tags: tuple[str, ...] = ()  # labels to find the job by; match TAG_PATTERN, at most MOST_TAGS
    started_by: StartedBy | None = None  # the running job that submits this job; None: a client


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The queue's answer to a submit: the job is kept, nothing is dropped."""

    job_id: JobId
    state: JobState
    duplicate: bool  # an earlier submit made this job: nothing new was written
    queue_depth: int  # jobs waiting in the pool (queued, scheduled, blocked), including this job


@dataclass(kw_only=True, slots=True)  # frozen would quadruple the construction time on the hot path
class Lease:
    """An attempt at a job, held by a worker, with everything that the handler needs."""

    job_id: JobId
    token: LeaseToken
    kind: str
    route: str
    priority: Priority
    payload: Json
    attempt: int  # 1-based; the attempt after a requeue (drain, preemption) has the same number
    max_attempts: int
    timeout_ms: int
    enqueued_at_ms: int  # Redis clock; when the job became ready for the first time
    claimed_at_ms: int  # Redis clock
    leased_at_ms: int  # the same moment in the pool's time, which a clock that is set back does not change
    checkpoint: Json = None  # checkpoint of an earlier attempt; None: nothing
    parents: Mapping[JobId, Json] = field(default_factory=dict)  # result of each parent that succeeded
    trace: Mapping[str, str] = field(default_factory=dict)
    preemptible: bool = False
    entry: str = ""  # the job's entry in the stream of its route and priority
    fault: str | None = None  # why the job's record cannot be read: it does not run, and becomes a dead letter


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetUse:
    """The present window of a budget, of all jobs, or of one key or tenant."""

    limit: str  # name
    amount: int  # in the unit that handlers report
    spent: float  # likewise; more than `amount` if running jobs reported more than was left
    resets_at_ms: int  # the next window begins; Redis clock


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEvent:
    """A change of a job, as in the pool's event stream."""

    id: str  # place in the stream; pass it on to read later events
    type: str  # queued, started, succeeded, retrying, … (docs/state-machine.md names them)
    job_id: JobId
    at_ms: int  # Redis clock
    kind: str
    route: str
    priority: Priority
    attempt: int  # real attempts begun so far
    worker: WorkerId | None  # holder of the job, if any
    detail: str | None  # reason, error or progress, if any


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """A line of a job's history, kept as long as the job."""

    at_ms: int  # Redis clock
    type: str  # as JobEvent.type, or checkpointed
    attempt: int  # real attempts begun so far
    worker: WorkerId | None  # holder of the job, if any


class StepOutcome(StrEnum):
    """Outcome of a step."""

    SUCCEEDED = "succeeded"  # its result is stored, and returned in later attempts
    FAILED = "failed"  # raised an error after its own retries
    WAITING = "waiting"  # a wait that has not ended
    EXPIRED = "expired"  # the timeout of a wait has passed without a signal


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A step of a job, stored under the job's lease. Times are of the Redis clock."""

    number: int  # its place in the record, from 1
    name: str  # unique within the job; a repeated name has its count, as in `fetch#2`
    outcome: StepOutcome
    attempt: int  # the attempt that ran it
    started_at_ms: int
    duration_ms: int
    after: str = ""  # the step before it in the program; empty: none
    sequential: bool = False  # runs in the task of that step, so that no different step of that task may follow it
    result: Json = None  # of a failed step: the text of its error; None in a job's record, which leaves results out


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of models, in total."""

    calls: int = 0  # reports of handlers
    input_tokens: int = 0
    output_tokens: int = 0
    cost_billionths: int = 0  # of the unit of money that the handlers report; whole numbers, so that sums are exact

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_billionths + other.cost_billionths,
        )

    @property
    def tokens(self) -> int:
        """Return the tokens of both directions."""
        return self.input_tokens + self.output_tokens

    @property
    def cost(self) -> float:
        """Return the money, in the unit that the handlers report."""
        return self.cost_billionths / 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalWait:
    """A wait of a job for a signal, in its record. Times are of the Redis clock."""

    signal: str
    question: Json  # of the handler, to the sender of the signal; None: no question
    answered: bool  # the signal has come
    value: Json  # of the signal
    began_at_ms: int
    ended_at_ms: int | None  # None: the wait has not ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job's whole record. Times are milliseconds of the Redis clock; None: has not happened."""

    job_id: JobId
    state: JobState
    kind: str
    route: str
    priority: Priority
    payload: Json
    attempt: int  # real attempts begun
    max_attempts: int
    timeout_ms: int
    submitted_at_ms: int
    enqueued_at_ms: int | None
    claimed_at_ms: int | None  # of the latest attempt
    finished_at_ms: int | None
    due_at_ms: int | None  # when a scheduled job becomes ready, or a wait ends at the latest
    expires_at_ms: int | None  # end of the wait by its ttl
    worker: WorkerId | None  # present or last holder
    result: Json  # None unless succeeded
    last_error: str | None  # of the latest failed attempt, whatever happened since
    reason: str | None  # reason of a cancellation or requeue
    progress: Json  # as the handler last reported; None: never
    checkpoint: Json  # state saved by the handler; None: nothing
    after: tuple[JobId, ...]  # parents
    idempotency_key: str | None
    cancel_requested: bool
    history: tuple[HistoryEntry, ...]
    tags: tuple[str, ...] = ()  # as submitted
    losses: int = 0  # workers that were lost, or ran out of memory, while they ran the job
    quarantined: bool = False  # runs alone, or waits to, because of its losses
    waits_for_children: bool = False  # a waiting job: waits for jobs that it has started
    waits_for: tuple[str, ...] = ()  # names of the signals that a waiting job waits for; none: it waits for its time
    question: Json = None  # of a wait for a signal, to its sender; of a single record only
    steps: tuple[Step, ...] = ()  # durable steps in the order of their ends, without results; of a single record only
    usage: Usage = Usage()  # of all attempts
    limit_key: str | None = None
    tenant: str | None = None
    tokens: int | None = None  # that the job is expected to use, as submitted
    started_by: JobId | None = None  # the job that has started this job
    held_by: str | None = None  # name of the limit that a queued job waits for; of the budget that made it wait
    held_until_ms: int | None = None  # when that limit opens; None: when a job ends; of a single record only
    budget: BudgetUse | None = None  # if that limit is a budget; of a single record only
    undecodable: Mapping[str, str] = field(default_factory=dict)  # fields of the record that cannot be read: their text

    @property
    def error(self) -> str | None:
        """Return why the job failed; None unless failed."""
        return self.last_error if self.state is JobState.FAILED else None

    @property
    def last_error_attempt(self) -> int | None:
        """Return the attempt of `last_error`; None: no error, or too long ago."""
        if self.last_error is None:
            return None
        return next((entry.attempt for entry in reversed(self.history) if entry.type in FAILURES), None)


FAILURES = frozenset({"retrying", "recovered", "quarantined", "failed"})  # changes of a history that leave an error
REASONED = frozenset({"cancelled", "expired", "returned", "preempted"})  # likewise, a reason
