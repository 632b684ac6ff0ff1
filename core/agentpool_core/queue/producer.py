"""The submitter's side of a pool's queue: submit jobs, cancel a job.

A call is checked here, then stored by a single script, completely or not at all. It may be repeated safely after a lost
answer, because a job's id is made before sending; so it is retried with backoff: a few times after a lost connection,
and for some seconds while a cluster moves the pool's slot. A worker's `Consumer` claims the job.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from agentpool_core.errors import (
    IdempotencyConflictError,
    InvalidJobError,
    QueueError,
    QueueFullError,
    QueueReadOnlyError,
    QueueReplyError,
    QueueUnreachableError,
    RetiredPoolError,
    SignalRefusedError,
    SubmitUnknownError,
    UnknownJobError,
    UnknownKindError,
    UnknownParentError,
    UnknownPoolError,
)
from agentpool_core.jobs import Durability, JobId, JobState, Priority, Receipt
from agentpool_core.process.cancellation import raise_lost
from agentpool_core.queue import scripts
from agentpool_core.queue.codec import requests as job_requests
from agentpool_core.queue.codec.json_text import encode
from agentpool_core.queue.codec.signals import MAX_SIGNALS, check_signal
from agentpool_core.queue.codec.slices import slices
from agentpool_core.queue.completions import CancelOutcome, SignalOutcome
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading, is_passing_of_cluster
from agentpool_core.queue.durability import Confirmation
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.schemas import PayloadSchemas, unsettled

if TYPE_CHECKING:
    from agentpool_core.jobs import JobRequest, Json, PoolRef
    from agentpool_core.queue.connection.client import RedisClient

CANCEL_CALLS_MAX = 1_000  # the maintenance ends the children of any larger family
JOBS_A_CALL = 500  # in a script: bounds the time of the script
SCHEMA_READS_MAX = 4  # by a submit, while the schemas change
TRIES = 4  # of a submit after a lost connection
TRIES_OF_CLUSTER = 12  # over some 6 s: a slot that moves, or a shard that elects a primary
BACKOFF_FIRST_SECONDS = 0.05  # doubles each time, with jitter
BACKOFF_LONGEST_SECONDS = 0.8

T = TypeVar("T")
_TTL = -2  # submit_plain.lua's answer where the pool gives the priority a ttl
_STATES = {state.value: state for state in JobState}


class Producer:
    """Submits to a pool. Safe to share between tasks; stateless except for the client."""

    def __init__(self, redis: RedisClient, pool: PoolRef, *, durability: Durability | None = None) -> None:
        self.pool = pool
        self._redis = redis
        self._conf = Keys(pool).conf
        self._confirmation = Confirmation(redis, self._conf, durability)
        self._schemas = PayloadSchemas(redis, self._conf)
        self._not_plain = {Priority.CRITICAL.value}  # priorities that always need the full script

    async def submit(self, request: JobRequest, *, durability: Durability | None = None) -> Receipt:
        """Submit a job; return once it is as durable as wanted: by this call, the producer, or the pool's settings.

        Raises InvalidJobError (an unusable field), UnknownKindError, UnknownParentError, UnknownPoolError,
        RetiredPoolError, QueueFullError or IdempotencyConflictError, or a different QueueError if Redis cannot be
        written: nothing is kept then. Only after SubmitUnknownError the outcome is unknown, because the answer may be
        lost: repeat the call with the same key or id. After NotDurableError the job is submitted; after
        DurabilityUnavailableError it is not.
        """
        durability = await self._prepare(durability)
        receipt = await self._submit(request)
        await self._confirmation.confirm([receipt], durability)
        return receipt

    async def _submit(self, request: JobRequest) -> Receipt:
        job_id = request.job_id or job_requests.new_id()
        args = await self._checked(request, job_requests.arguments(request, job_id))
        depth = await self._send_plain(args)
        if depth is not None:
            return Receipt(job_id=job_id, state=JobState.QUEUED, duplicate=False, queue_depth=depth + 1)
        reply = await self._send_checked([request], [args])
        with Reading("submit"):
            if reply[0] != "ok":
                raise self._refusal(reply, {0: request}, [])
            return _receipts(reply, [job_id])[0]

    async def submit_many(
        self, requests: Sequence[JobRequest], *, durability: Durability | None = None
    ) -> list[Receipt]:
        """Submit many jobs; return a receipt for each, in order. Jobs may wait for jobs of the same call by `job_id`.

        All are checked before the first is sent. They are stored in slices of `JOBS_A_CALL`, each completely or not at
        all: if a later slice is refused, the error's `accepted` holds the receipts of the earlier slices. Its `index`
        is the place of the refused job. Raises the errors of `submit`, and DependencyCycleError. One confirmation of
        the durability covers all jobs; after NotDurableError with `accepted` of only some jobs, submit all again.
        """
        durability = await self._prepare(durability)
        order = job_requests.parents_first(requests)
        ids = [request.job_id or job_requests.new_id() for request in requests]
        prepared = [await self._prepared(requests, index, ids[index]) for index in order]
        receipts: list[Receipt] = []
        for start, end in slices([len(job[2]) for job in prepared], most=JOBS_A_CALL):
            asked = {index: requests[index] for index in order[start:end]}
            try:
                reply = await self._store(asked, prepared[start:end], receipts)
            except QueueError as error:
                if error.accepted:
                    await self._confirmation.confirm(receipts, durability)
                raise
            with Reading("submit"):
                receipts += _receipts(reply, [ids[index] for index in asked])
        in_order: list[Any] = [None] * len(requests)
        for index, receipt in zip(order, receipts, strict=True):
            in_order[index] = receipt
        await self._confirmation.confirm(in_order, durability)
        return in_order

    async def cancel(self, job_id: JobId, *, reason: str = "requested", tree: bool = False) -> CancelOutcome:
        """End a waiting job with the jobs that wait for it; ask the worker of a running job to stop it.

        `tree`: also all jobs that the job has started, with all that these have started, in steps of bounded size.
        Raises UnknownJobError.
        """
        outcome, more = await self._cancel(job_id, reason, "tree" if tree else "")
        for _ in range(CANCEL_CALLS_MAX):
            if not more:
                break
            _, more = await self._cancel(job_id, reason, "more")
        return outcome

    async def signal(
        self, job_id: JobId, name: str, value: Json = None, *, signal_id: str | None = None
    ) -> SignalOutcome:
        """Store a signal with its job, and resume the job if it waits for this name.

        Signals of a name are delivered once each, in the order of their coming, also if they come early. A repeated
        `signal_id` changes nothing. Raises UnknownJobError, InvalidJobError for a name, an id or a value that
        cannot be used, SignalRefusedError for a job that has ended or has too many signals.
        """
        check_signal(name, signal_id)
        args = (job_id, name, signal_id or uuid.uuid4().hex, encode("value", value), MAX_SIGNALS)
        reply = await scripts.SIGNAL.run(self._redis, self._conf, args)
        with Reading("signal"):
            verdict, *state = map(str, reply)
            if verdict == "unknown":
                raise UnknownJobError(str(self.pool), job_id)
            if verdict in {"ended", "full"}:
                raise SignalRefusedError(job_id=job_id, name=name, state="".join(state), limit=MAX_SIGNALS)
            return SignalOutcome(verdict)

    async def has_signal(self, job_id: JobId, signal_id: str) -> bool:
        """Return whether a signal of this id is stored with the job."""
        reply = await ask(self._redis, "HEXISTS", Keys(self.pool).job(job_id), f"sigid:{signal_id}")
        with Reading("hexists"):
            return bool(int(reply))

    async def _cancel(self, job_id: JobId, reason: str, how: str) -> tuple[CancelOutcome, bool]:
        """Return the outcome, and whether another call would end further children."""
        reply = await scripts.CANCEL.run(self._redis, self._conf, (job_id, reason, how))
        with Reading("cancel"):
            name, more = reply
            if name != "unknown":
                return CancelOutcome(name), more == 1
        raise UnknownJobError(str(self.pool), job_id)

    async def _send_plain(self, args: Sequence[str]) -> int | None:
        """Return the depth before the job, stored by the short script; None if the job needs the full script."""
        job_id, spec, payload, extras = args
        kind, priority, rest = spec.split("|", 2)
        if extras or priority in self._not_plain:
            return None
        depth: int = await self._send(scripts.SUBMIT_PLAIN, (job_id, kind, priority, rest, payload))
        if depth == _TTL:
            self._not_plain.add(priority)
        return None if depth < 0 else depth

    async def _prepare(self, durability: Durability | None) -> Durability:
        """Return the durability of the next submit, as `Confirmation.prepare`. Nothing is kept after an error."""
        return await _retried(lambda: self._confirmation.prepare(durability))

    async def _checked(self, request: JobRequest, args: Sequence[str]) -> list[str]:
        """Return the arguments with the schema that the payload fits. Raises SchemaMismatchError."""
        return job_requests.with_schema(args, await self._schemas.check(request, args[2]))

    async def _prepared(self, requests: Sequence[JobRequest], index: int, job_id: JobId) -> list[str]:
        """Return the script's arguments for a job of many. An error names its index."""
        with job_requests.at_index(index):
            return await self._checked(requests[index], job_requests.arguments(requests[index], job_id))

    async def _store(
        self, asked: Mapping[int, JobRequest], jobs: Sequence[Sequence[str]], accepted: list[Receipt]
    ) -> Any:
        """Return the reply to a slice of many jobs. A refusal has the index of its job, and the receipts before."""
        try:
            reply = await self._send_checked(list(asked.values()), jobs)
        except InvalidJobError as error:
            error.index, error.accepted = list(asked)[error.index or 0], accepted
            raise
        with Reading("submit"):
            if reply[0] != "ok":
                raise self._refusal(reply, asked, accepted)
        return reply

    async def _send_checked(self, requests: Sequence[JobRequest], jobs: Sequence[Sequence[str]]) -> Any:
        """Return the script's reply; check the payloads again while the pool has other schemas than were read."""
        for _ in range(SCHEMA_READS_MAX):
            reply = await self._send(scripts.SUBMIT, [text for job in jobs for text in job])
            if reply[0] != "unchecked":
                return reply
            await self._schemas.refresh()
            jobs = [await self._checked_again(requests, place, job) for place, job in enumerate(jobs)]
        raise unsettled()

    async def _checked_again(self, requests: Sequence[JobRequest], place: int, args: Sequence[str]) -> list[str]:
        with job_requests.at_index(place):
            return await self._checked(requests[place], args)

    async def _send(self, script: scripts.Script, args: Sequence[str]) -> Any:
        """Return a submit script's reply; retry while the connection is lost."""
        try:
            return await _retried(lambda: script.run(self._redis, self._conf, args))
        except QueueReadOnlyError:  # nothing was kept
            raise
        except QueueUnreachableError as error:
            raise SubmitUnknownError(error.detail) from error

    def _refusal(self, reply: list[Any], asked: Mapping[int, JobRequest], accepted: list[Receipt]) -> QueueError:
        """Return the error for a refusal; `asked` holds the requests by their place in the call, in the order sent."""
        error: QueueError
        index: int | None = None
        request = next(iter(asked.values()))
        if reply[0] in {"conflict", "unknown_kind", "unknown_parent"}:
            index, request = list(asked.items())[reply[1]]
        match reply:
            case ["unknown_pool"]:
                error = UnknownPoolError(str(self.pool))
            case ["retired"]:
                error = RetiredPoolError(str(self.pool))
            case ["full", depth, limit, retry_after]:
                error = QueueFullError(pool=str(self.pool), depth=depth, limit=limit, retry_after_ms=retry_after)
            case ["conflict", _, job_id]:
                error = IdempotencyConflictError(key=request.idempotency_key or str(request.job_id), job_id=job_id)
            case ["unknown_kind", _, kinds]:
                error = UnknownKindError(pool=str(self.pool), kind=request.kind, known=kinds)
            case ["unknown_parent", _, parent]:
                error = UnknownParentError(
                    field=f"after[{parent}]",
                    value=list(dict.fromkeys(request.after))[parent],
                    problem="no job of that id is in the pool",
                    remedy="submit the parent first, or in the same call with its job_id",
                )
            case _:
                raise QueueReplyError(doing="submit", problem=f"outcome {str(reply[0])[:20]!r}")
        error.accepted, error.index = accepted, index
        return error


async def _retried(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return the result of the attempt, repeated with backoff while the connection is lost."""
    attempts = 0
    while True:
        try:
            return await attempt()
        except QueueUnreachableError as error:
            raise_lost()
            attempts += 1
            if attempts >= (TRIES_OF_CLUSTER if is_passing_of_cluster(error.__cause__) else TRIES):
                raise
            pause = min(BACKOFF_FIRST_SECONDS * 2**attempts, BACKOFF_LONGEST_SECONDS)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter


def _receipts(reply: list[Any], ids: Sequence[JobId]) -> list[Receipt]:
    depth: int = reply[1]
    receipts = []
    for job_id, answer in zip(ids, reply[2:], strict=True):
        if answer[0] == "=":
            known, _, state = answer[1:].partition(" ")
            receipt = Receipt(job_id=JobId(known), state=_STATES[state], duplicate=True, queue_depth=depth)
        else:
            depth += answer != "cancelled"
            receipt = Receipt(job_id=job_id, state=_STATES[answer], duplicate=False, queue_depth=depth)
        receipts.append(receipt)
    return receipts
