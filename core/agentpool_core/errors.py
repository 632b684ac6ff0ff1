"""All errors that AgentPool raises on purpose.

    AgentPoolError
    ├── SettingError            a flag, variable or file that cannot be used
    ├── SpecError               an AgentPool that cannot be served
    ├── HandlerError            a handler that cannot be loaded or registered
    ├── ClusterError            the Kubernetes API refused or did not answer
    │   └── ClusterUnreachableError  no answer
    └── QueueError              the queue refused, or is unavailable
        ├── QueueUnreachableError   unknown, never zero: Redis did not answer
        │   ├── QueueReadOnlyError      a replica answered
        │   └── SubmitUnknownError      Redis did not confirm a submit
        ├── NotDurableError         Redis did not confirm the requested durability
        ├── DurabilityUnavailableError  Redis cannot confirm it; nothing was submitted
        ├── QueueReplyError         the peer does not answer like Redis
        ├── ForeignLoopError        a client in two concurrent event loops
        ├── QueueAccessError        wrong password, or missing permission
        ├── QueueMemoryError        maxmemory is reached
        ├── UnsupportedServerError  the server is too old
        ├── NotRegisteredError      the worker has no lease
        ├── ResultTimeoutError      the job has not ended yet
        ├── JobEndedError           the awaited job ended without a result
        ├── SignalRefusedError      the signalled job has ended, or has too many signals
        ├── UnknownPoolError
        ├── RetiredPoolError        the AgentPool was deleted; its queue is kept
        ├── UnknownJobError
        ├── UnknownLimitError       no such limit by key or tenant
        ├── InvalidJobError         a field of the submitted job is wrong
        │   ├── PayloadTooLargeError
        │   ├── PayloadTooDeepError
        │   ├── SchemaMismatchError     the payload or result differs from the schema of its kind
        │   ├── UnknownKindError        the pool accepts listed kinds only
        │   ├── UnknownParentError
        │   └── DependencyCycleError
        ├── QueueFullError          maxDepth reached: try again later
        ├── IdempotencyConflictError
        ├── StaleLeaseError         the lease has passed to a different worker
        └── BudgetExceededError     a call would overspend a budget

An error has a `detail` (the problem, with field and value) and a `remedy` (the user's action; empty if there is none);
its text joins both. Further data for programs are attributes. Third-party errors are wrapped at the boundary, with the
cause chained. Packages may define subclasses.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentpool_core.text import encodable, render_value


class AgentPoolError(Exception):
    """Base class; a command prints the error as a line and exits with `exit_code`.

    `detail` states the problem, `remedy` the user's action (empty: none). The text of the error joins both.
    """

    exit_code: int = 1

    def __init__(self, detail: str, *, remedy: str = "") -> None:
        self.detail = encodable(detail)
        self.remedy = encodable(remedy)
        super().__init__("; ".join(filter(None, (self.detail, self.remedy))))


class FieldError(AgentPoolError):
    """A named field has an unusable value.

    `field` is its path as the user wrote it, `value` its value (None: nothing), `problem` the detail without both.
    """

    def __init__(self, *, field: str, value: object, problem: str, remedy: str) -> None:
        self.field = field
        self.value = value
        self.problem = problem
        found = "" if value is None else f"{render_value(value)}: "
        super().__init__(f"{field}: {found}{problem}", remedy=remedy)


class SettingError(FieldError):
    """A flag, environment variable or file that cannot be used."""

    exit_code = 2


class SpecError(FieldError):
    """An AgentPool's field that cannot be served."""


class HandlerError(AgentPoolError):
    """A handler that cannot be loaded or registered."""


class ClusterError(AgentPoolError):
    """The Kubernetes API refused a request or did not answer."""


class ClusterUnreachableError(ClusterError):
    """The Kubernetes API did not answer."""


class QueueError(AgentPoolError):
    """The queue refused a request, or is unavailable.

    For a refused call with many jobs, `accepted` holds the receipts of the jobs kept before, and `index` is the place
    of the refused job (None: the refusal concerns no single job).
    """

    accepted: Sequence[object] = ()
    index: int | None = None


class QueueUnreachableError(QueueError):
    """Redis did not answer, so the queue's state is unknown (never zero).

    `reconnect`: the connection was at fault, so a new connection may work at once; otherwise recovery takes time.
    """

    reconnect: bool = False


class QueueReadOnlyError(QueueUnreachableError):
    """A replica answered, which cannot be written to; the primary may have changed."""

    reconnect = True

    def __init__(self, text: str) -> None:
        super().__init__(
            f"this Redis is a read-only replica ({text})",
            remedy="use the primary's URL, or redis+sentinel:// to follow it",
        )


class SubmitUnknownError(QueueUnreachableError):
    """Redis did not confirm a submit, so the queue may hold the job; `remedy` avoids a duplicate."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            detail,
            remedy="the outcome is unknown: submit the job again with the same idempotency key or job id",
        )


class NotDurableError(QueueError):
    """Submitted jobs, with receipts in `accepted`, whose requested durability Redis did not confirm."""

    def __init__(self, durability: str, problem: str, accepted: Sequence[object], *, remedy: str) -> None:
        jobs = "the job is" if len(accepted) == 1 else f"{len(accepted)} jobs are"
        super().__init__(
            f"durability {durability!r}: {jobs} submitted, but not durable ({problem})",
            remedy=f"{remedy}; then submit again with the same idempotency key or job id",
        )
        self.durability = durability
        self.accepted = accepted


class DurabilityUnavailableError(QueueError):
    """The server cannot confirm the requested durability; nothing was submitted."""

    def __init__(self, durability: str, problem: str, *, remedy: str) -> None:
        super().__init__(
            f"durability {durability!r}: the server cannot confirm it, and nothing was submitted ({problem})",
            remedy=f"{remedy}; or submit with durability local",
        )
        self.durability = durability


class QueueReplyError(QueueError):
    """Redis, or a server in its place, sent an invalid reply to a command (`doing`)."""

    def __init__(self, *, doing: str, problem: str) -> None:
        self.doing = doing
        super().__init__(
            f"{doing}: the server sent an invalid Redis reply ({problem})",
            remedy="check that the URL names a Redis server, and that no proxy changes the replies",
        )


class ForeignLoopError(QueueError):
    """The client is in use by a concurrent event loop."""

    def __init__(self) -> None:
        super().__init__(
            "the client is in use by a running event loop other than this one",
            remedy="create a client for each event loop",
        )


class QueueAccessError(QueueError):
    """Redis refused the user: wrong password, or a command or key without permission."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"Redis refused the user ({text})",
            remedy="check user and password in the URL, and the user's ACL (rules of each role: docs/security.md)",
        )


class QueueMemoryError(QueueError):
    """Redis has reached maxmemory and refuses new data; running jobs can still end."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"Redis is out of memory ({text})",
            remedy="raise maxmemory, shorten spec.queue.retentionSeconds, or try again after running jobs have ended",
        )


class UnsupportedServerError(QueueError):
    """The server is too old for the queue's scripts."""

    def __init__(self, *, version: str, needed: str) -> None:
        self.version = version
        self.needed = needed
        super().__init__(f"Redis {version} is too old", remedy=f"use Redis {needed} or later, or Valkey")


class NotRegisteredError(QueueError):
    """The worker has no lease: it never registered, or its lease ended and its jobs were recovered."""

    def __init__(self, pool: str, worker: str) -> None:
        self.pool = pool
        self.worker = worker
        super().__init__(
            f"worker {worker!r} is not registered in pool {pool!r}", remedy="stop the worker's jobs and register again"
        )


class ResultTimeoutError(QueueError):
    """The job did not end within the timeout; the job continues."""

    def __init__(self, job_id: str, timeout_s: float) -> None:
        self.job_id = job_id
        self.timeout_s = timeout_s
        super().__init__(f"job {job_id!r} has not ended within {timeout_s:g} s", remedy="wait longer, or cancel it")


class JobEndedError(QueueError):
    """The awaited job ended without a result: `state` is failed, cancelled or expired, `reason` the cause."""

    def __init__(self, *, job_id: str, state: str, reason: str) -> None:
        self.job_id = job_id
        self.state = state
        self.reason = reason
        super().__init__(f"job {job_id!r} ended as {state}: {reason or 'no reason given'}")


class SignalRefusedError(QueueError):
    """The job takes no signal: it has ended (`state`), or it has as many signals as a job may have (`state` is "")."""

    def __init__(self, *, job_id: str, name: str, state: str, limit: int) -> None:
        self.job_id = job_id
        self.name = name
        self.state = state
        problem = f"the job has ended as {state}" if state else f"the job has {limit} signals already"
        super().__init__(
            f"signal {name!r} to job {job_id!r}: {problem}",
            remedy="read the result of the job" if state else "send fewer signals, each with an id of its own",
        )


class UnknownPoolError(QueueError):
    """This Redis has no pool of that name."""

    def __init__(self, pool: str) -> None:
        self.pool = pool
        super().__init__(
            f"pool {pool!r} is not known to this Redis",
            remedy="apply the AgentPool and wait until it is Ready, or check namespace, name and Redis URL",
        )


class RetiredPoolError(QueueError):
    """The AgentPool was deleted with deletionPolicy Retain: its jobs can be read, and no new jobs are accepted."""

    def __init__(self, pool: str) -> None:
        self.pool = pool
        super().__init__(
            f"pool {pool!r} is deleted (its queue is kept: deletionPolicy Retain) and accepts no jobs",
            remedy="apply the AgentPool again, or submit to a different pool",
        )


class UnknownJobError(QueueError):
    """The pool has no job of that id: the id is wrong, or the job's retention has ended."""

    def __init__(self, pool: str, job_id: str) -> None:
        self.pool = pool
        self.job_id = job_id
        super().__init__(
            f"job {job_id!r} is not in pool {pool!r}",
            remedy="check the id and the pool; for jobs that ended long ago, raise spec.queue.retentionSeconds",
        )


class InvalidJobError(FieldError, QueueError):
    """A field of the submitted job cannot be used; nothing was written."""


class PayloadTooLargeError(InvalidJobError):
    """The payload, result or state exceeds the queue's `limit` (bytes)."""

    def __init__(self, *, field: str, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        problem = f"larger than the limit of {limit} bytes"
        remedy = "store the data elsewhere and send a reference to it"
        super().__init__(field=field, value=f"{size} bytes", problem=problem, remedy=remedy)


class PayloadTooDeepError(InvalidJobError):
    """A JSON value has more than `limit` levels of nested objects and arrays."""

    def __init__(self, *, field: str, limit: int) -> None:
        self.limit = limit
        problem = f"nested deeper than {limit} levels"
        remedy = "flatten it, or send the inner part as text or as a reference"
        super().__init__(field=field, value=None, problem=problem, remedy=remedy)


class UnknownLimitError(QueueError):
    """The pool has no such limit by key or tenant (`known`: name, key or tenant, and measure of each)."""

    def __init__(self, *, pool: str, limit: str, known: Sequence[str]) -> None:
        self.pool, self.limit = pool, limit
        self.known = tuple(known)
        shown = ", ".join(self.known) or "none"
        super().__init__(
            f"pool {pool!r} has no limit {limit!r} by key or tenant with this measure; it has: {shown}",
            remedy="use one of these with its measure, or add the limit to spec.queue.limits of the AgentPool",
        )


class SchemaMismatchError(InvalidJobError):
    """A payload or result differs from the schema of its kind; `field` is the path, such as `payload.items[0].name`."""


class UnknownKindError(InvalidJobError):
    """The pool accepts only the kinds that its routes list (`known`, in alphabetical order)."""

    def __init__(self, *, pool: str, kind: str, known: Sequence[str]) -> None:
        self.pool = pool
        self.known = tuple(known)
        longest = 10  # kinds in a message
        shown = ", ".join(self.known[:longest]) + (", …" if len(self.known) > longest else "")
        problem = f"not listed by a route of pool {pool!r}, which refuses unlisted kinds (unlistedKinds: Refuse)"
        remedy = f"use one of {shown}, or add the kind to a route of the AgentPool"
        super().__init__(field="kind", value=kind, problem=problem, remedy=remedy)


class UnknownParentError(InvalidJobError):
    """A job depends on a job that is not in the pool."""


class DependencyCycleError(InvalidJobError):
    """Jobs of a call wait for each other, so none can start."""


class QueueFullError(QueueError):
    """The pool holds `depth` waiting jobs, its `limit`; try again after `retry_after_ms`."""

    def __init__(self, *, pool: str, depth: int, limit: int, retry_after_ms: int) -> None:
        self.pool = pool
        self.depth, self.limit = depth, limit
        self.retry_after_ms = retry_after_ms
        super().__init__(
            f"pool {pool!r} is full: {depth} jobs wait, and spec.queue.maxDepth is {limit}",
            remedy=f"submit again in {retry_after_ms / 1000:g} s, or raise maxDepth",
        )


class IdempotencyConflictError(QueueError):
    """The idempotency key was used before, by `job_id`, with a different body."""

    def __init__(self, *, key: str, job_id: str) -> None:
        self.key, self.job_id = key, job_id
        detail = f"idempotency key {key!r} belongs to job {job_id!r} with a different body"
        remedy = "use a new key for a new job, send the same body, or choose with on_conflict which of the jobs stays"
        super().__init__(detail, remedy=remedy)


class StaleLeaseError(QueueError):
    """The lease on `job_id` has passed to a different worker, so results of its former holder are refused."""

    def __init__(self, job_id: str, token: int) -> None:
        self.job_id, self.token = job_id, token
        detail = f"lease {token} of job {job_id!r} is stale: the lease expired, or the job ended"
        super().__init__(detail, remedy="stop the work: the queue refuses its result")


class BudgetExceededError(QueueError):
    """A call would spend more money than a budget has left. Not caught, the job waits for the next window."""

    def __init__(self, *, budget: str, cost: float, left: float, amount: float, next_window_ms: int) -> None:
        self.budget, self.cost, self.left = budget, cost, left  # name of the limit; money
        self.next_window_ms = next_window_ms  # from now
        self.fits_never = cost > amount  # of a whole window
        wait = "" if self.fits_never else f"wait {next_window_ms / 1000:g} s for the next window, or "
        detail = f"budget {budget!r}: {left:g} of {amount:g} is left, and the call costs {cost:g}"
        super().__init__(detail, remedy=f"{wait}make a cheaper call, or raise the budget in spec.queue.limits")
