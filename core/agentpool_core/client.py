"""The public client: submit jobs, await their results, follow events. Async, with `SyncClient` for blocking programs.

Times are in seconds here, as in asyncio; the queue below uses milliseconds. A waiting `result()` of a receipt costs
nothing: the queue writes the end of a watched job into this client's inbox, a list shared by all receipts.

    async with Client("redis://localhost:6379/0", pool="research/analysts") as client:
        receipt = await client.submit("summarize", {"url": "…"}, priority="critical")
        print(await receipt.result(timeout=60))

`agentpool_core.queue` takes over next; the gateway and the command line use this client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from agentpool_core.errors import SettingError
from agentpool_core.inbox import Inbox
from agentpool_core.jobs import Durability, JobId, JobRequest, JobState, PoolRef
from agentpool_core.jobs import Receipt as QueueReceipt
from agentpool_core.queue import Inspector, Producer, connect
from agentpool_core.queue.codec.requests import at_index
from agentpool_core.queue.selection import Change
from agentpool_core.queue.usage_totals import UsageQuery
from agentpool_core.queue.webhook_submits import Submission, Submitter
from agentpool_core.queue.webhooks import OF_SUBMIT, Webhooks
from agentpool_core.submission import NewJob, SubmitOptions, request_from, request_of
from agentpool_core.tracing import current
from agentpool_core.webhook_documents import webhook_of

if TYPE_CHECKING:
    from types import TracebackType

    from agentpool_core.jobs import Job, JobEvent, Json
    from agentpool_core.queue.chunks import Chunk
    from agentpool_core.queue.completions import CancelOutcome, SignalOutcome
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.schedule import Schedule
    from agentpool_core.queue.schedules import ScheduleState
    from agentpool_core.queue.selection import JobPage
    from agentpool_core.queue.selector import JobSelector
    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_core.queue.usage_totals import UsageOptions, UsageTotals

T = TypeVar("T")

__all__ = ("Client", "NewJob", "Receipt", "SubmitOptions", "request_of")


def __getattr__(name: str) -> Any:
    """Return the blocking client, which has a module of its own, so that both can be imported from here."""
    if name not in {"SyncClient", "SyncReceipt"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("agentpool_core.sync_client"), name)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A submitted job."""

    job_id: JobId
    state: JobState  # state at the submit
    duplicate: bool  # an earlier submit made this job
    queue_depth: int  # waiting jobs of the pool at the submit, including this job
    _client: Client

    async def result(self, *, timeout: float | None = None) -> Json:  # noqa: ASYNC109  # the natural name
        """Return the job's result after the end.

        `timeout` in seconds; None waits for ever. Raises ResultTimeoutError after the timeout (the job goes on),
        JobEndedError if the job failed, was cancelled or expired, UnknownJobError after the retention.
        """
        return await self._client.result(self.job_id, timeout=timeout)

    def stream(self, *, after: str = "0") -> AsyncIterator[Chunk]:
        """As `Client.stream`."""
        return self._client.stream(self.job_id, after=after)

    async def signal(self, name: str, value: Json = None, *, id: str | None = None) -> SignalOutcome:  # noqa: A002
        """As `Client.signal`."""
        return await self._client.signal(self.job_id, name, value, id=id)

    async def cancel(self) -> CancelOutcome:
        """As `Client.cancel`."""
        return await self._client.cancel(self.job_id)


class Client:
    """A pool's client. Safe to share between the tasks of an event loop; close it, or use `async with`.

    In a later event loop, or in a forked process, the client reconnects; in two concurrent loops it raises
    ForeignLoopError. `redis` is a URL (see `agentpool_core.queue.connect`) or a client made by `connect`, which then
    stays open. With `durability` "fsync" or "replica" a submit returns once the job is on the primary's disk or on a
    replica, and raises NotDurableError if that is not confirmed within 5 s, or DurabilityUnavailableError, before
    anything is written, if the server cannot confirm it. None: the pool's setting, `spec.queue.durability`.
    """

    def __init__(
        self, redis: str | RedisClient, *, pool: PoolRef | str, durability: Durability | str | None = None
    ) -> None:
        self.pool = PoolRef.parse(pool) if isinstance(pool, str) else pool
        self._owns_redis = isinstance(redis, str)
        self._redis = connect(redis) if isinstance(redis, str) else redis
        self._producer = Producer(self._redis, self.pool, durability=_durability_of(durability))
        self._inspector = Inspector(self._redis)
        self._webhooks = Webhooks(self._redis, self.pool)
        self._inbox = Inbox(self._redis, self.pool)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End background tasks and, if made by this client, the connections."""
        await self._inbox.close()
        if self._owns_redis:
            await self._redis.aclose()

    async def submit(
        self,
        kind: str,
        payload: Json = None,
        *,
        durability: Durability | str | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Receipt:
        """Submit a job; return as soon as the queue has stored it, as durably as wanted (None: the client's setting).

        `webhook` is the URL to which a gateway sends the end of the job, or `{"url": …, "changes": ["failed"]}`; the
        gateway sends to the hosts that its owner allows. The webhook is stored after the job: after a lost answer,
        submit again with the same key.

        Raises InvalidJobError (or its subclass UnknownKindError, with `known`), UnknownPoolError, RetiredPoolError,
        QueueFullError (with `retry_after_ms`), or IdempotencyConflictError: nothing is kept then. After
        SubmitUnknownError the outcome is unknown, and after NotDurableError the job is kept, but a failure of Redis may
        lose it: submit again with the same `idempotency_key` or `job_id`, which prevents a duplicate.
        """
        wanted = _durability_of(durability)
        hook = None if webhook is None else webhook_of(webhook)
        receipt = await self._producer.submit(_traced(request_of(kind, payload, **options)), durability=wanted)
        if hook is not None:
            await self._webhooks.put(receipt.job_id, hook)
        return self._receipt(receipt)

    async def submit_many(
        self, jobs: Iterable[NewJob | JobRequest], *, durability: Durability | str | None = None
    ) -> list[Receipt]:
        """Submit many jobs, a few hundred per round trip; return a receipt for each, in order.

        A job is a dict of `submit`'s arguments, times in seconds: `{"kind": "summarize", "payload": {…}, "delay": 5}`,
        or a JobRequest with times in milliseconds. Jobs may wait for jobs of the same call by `job_id`. Raises the
        errors of `submit`, and DependencyCycleError; if a later slice of the jobs is refused, the error's `accepted`
        holds the receipts of the jobs kept before.
        """
        wanted = _durability_of(durability)
        submissions = [_submission_of(index, job) for index, job in enumerate(jobs)]
        receipts = await Submitter(self._producer, self._webhooks).submit_many(submissions, durability=wanted)
        return [self._receipt(receipt) for receipt in receipts]

    async def result(self, job_id: JobId | str, *, timeout: float | None = None) -> Json:  # noqa: ASYNC109
        """Return a job's result by id, like `Receipt.result`."""
        return await self._inbox.result(JobId(job_id), timeout_s=timeout)

    async def cancel(self, job_id: JobId | str, *, reason: str = "requested", tree: bool = False) -> CancelOutcome:
        """End a waiting job at once; ask the worker of a running job to stop it. Raises UnknownJobError.

        `tree`: cancel also all jobs that the job's handler has started, with all that these have started.
        """
        return await self._producer.cancel(JobId(job_id), reason=reason, tree=tree)

    def stream(self, job_id: JobId | str, *, after: str = "0") -> AsyncIterator[Chunk]:
        """Yield the output of a job (`ctx.emit`) as it comes, until the job has ended: `async for chunk in …`.

        `after` is the `id` of the last chunk read, "0" for the oldest chunk kept. A later `run` of the handler may
        repeat chunks of an earlier run. Raises UnknownJobError.
        """
        return self._inspector.chunks(self.pool, JobId(job_id), after=after)

    async def signal(
        self,
        job_id: JobId | str,
        name: str,
        value: Json = None,
        *,
        id: str | None = None,  # noqa: A002  # the natural name
    ) -> SignalOutcome:
        """Send a signal to a job, which resumes the job if it waits for this name (`ctx.wait_for`).

        Signals of a name are delivered once each, in the order of their coming; an early one is kept. A repeated `id`
        changes nothing. Raises UnknownJobError, SignalRefusedError for a job that has ended, InvalidJobError.
        """
        return await self._producer.signal(JobId(job_id), name, value, signal_id=id)

    async def job(self, job_id: JobId | str) -> Job:
        """Return the job's record, including the history. Raises UnknownJobError."""
        return await self._inspector.job(self.pool, JobId(job_id))

    async def jobs(self, state: JobState | str, *, limit: int = 100) -> list[Job]:
        """Return jobs in a state; see `find`, which also continues a list."""
        return await self._inspector.jobs(self.pool, JobState(state), limit=limit)

    async def replay(self, job_id: JobId | str, *, downstream: bool = False) -> int:
        """Put a dead letter back into the queue. Raises UnknownJobError, or InvalidJobError if not dead.

        `downstream`: with all jobs that were cancelled because of it; return their number.
        """
        return await self._inspector.replay(self.pool, JobId(job_id), downstream=downstream)

    async def redeliver(self, job_id: JobId | str, *, webhook: str = OF_SUBMIT) -> int:
        """Send the messages of a job's webhook that were given up again; return their number.

        Raises UnknownJobError, UnknownWebhookError, or InvalidJobError for a webhook without such a message.
        """
        return await self._webhooks.redeliver(JobId(job_id), webhook)

    async def find(self, selector: JobSelector, *, limit: int = 100, cursor: str | None = None) -> JobPage:
        """Return at most `limit` selected jobs, and the cursor for the next page (None: these were the last).

        Jobs that wait, run or are dead come oldest first, other ended jobs newest first, state by state.
        """
        return await self._inspector.find(self.pool, selector, limit=limit, cursor=cursor)

    async def count(self, selector: JobSelector) -> int:
        """Return the number of selected jobs."""
        return await self._inspector.select(self.pool, selector).count()

    async def cancel_selected(self, selector: JobSelector, *, reason: str = "requested") -> int:
        """Cancel the selected jobs that wait or run; return how many were cancelled, or asked to stop.

        Works in steps of a hundred jobs. Jobs that are submitted after the first step stay.
        """
        return await self._change(selector, Change.CANCEL, reason=reason)

    async def replay_selected(self, selector: JobSelector) -> int:
        """Put the selected dead letters back into the queue; return how many. Raises RetiredPoolError."""
        return await self._change(selector, Change.REPLAY)

    async def purge_selected(self, selector: JobSelector) -> int:
        """Delete the selected ended jobs, with their results; return how many."""
        return await self._change(selector, Change.PURGE)

    async def _change(self, selector: JobSelector, change: Change, *, reason: str = "requested") -> int:
        steps = self._inspector.select(self.pool, selector).steps(change, reason=reason)
        return sum([number async for number in steps])

    async def schedules(self) -> list[ScheduleState]:
        """Return the schedules of the pool, by name, with their next and last runs."""
        return await self._inspector.schedules(self.pool).list()

    async def put_schedule(self, schedule: Schedule) -> None:
        """Create or replace a schedule. Raises InvalidJobError for a name that the AgentPool declares."""
        await self._inspector.schedules(self.pool).put(schedule)

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule; its jobs stay. Raises InvalidJobError for an unknown or a declared name."""
        await self._inspector.schedules(self.pool).delete(name)

    async def pause_schedule(self, name: str, *, paused: bool = True) -> None:
        """Pause or resume a schedule; due times meanwhile are skipped. Raises InvalidJobError for an unknown name."""
        await self._inspector.schedules(self.pool).pause(name, paused=paused)

    async def usage(self, **query: Unpack[UsageOptions]) -> UsageTotals:
        """Return the usage of models that handlers have reported: `await client.usage(days=30, by=("tenant",))`.

        `days` (7: today and six days before) or `day`, `tenant`, `kind` and `model` select; `by` names the columns of
        the rows (of day, tenant, kind, model). Days are of UTC. Raises InvalidJobError.
        """
        return await self._inspector.usage(self.pool, UsageQuery(**query))

    async def queue(self) -> QueueSnapshot:
        """Return depths, running jobs, workers and totals at this moment."""
        return await self._inspector.snapshot(self.pool)

    async def events(self, *, after: str = "$", job_id: JobId | str | None = None) -> AsyncIterator[JobEvent]:
        """Yield the events of the pool as they occur; only those of a job if `job_id` is given.

        `after` is the `id` of the last event read, "0" for the oldest event kept, "$" for new events only.
        """
        async for event in self._inspector.follow(self.pool, after=after):
            if job_id is None or event.job_id == job_id:
                yield event

    def _receipt(self, kept: QueueReceipt) -> Receipt:
        return Receipt(kept.job_id, kept.state, kept.duplicate, kept.queue_depth, self)


def _durability_of(value: Durability | str | None) -> Durability | None:
    try:
        return None if value is None else Durability(value)
    except ValueError as error:
        raise SettingError(
            field="durability", value=value, problem="no such choice", remedy=f"use one of {', '.join(Durability)}"
        ) from error


def _submission_of(index: int, job: NewJob | JobRequest) -> Submission:
    """Return a job of many with its webhook. Raises InvalidJobError with the job's index."""
    hook = None if isinstance(job, JobRequest) else job.get("webhook")
    with at_index(index):
        return Submission(_traced(request_from(job)), None if hook is None else webhook_of(hook))


def _traced(request: JobRequest) -> JobRequest:
    """Return the request with the program's current span, unless the request has a trace."""
    if request.trace or not (trace := current()):
        return request
    return replace(request, trace=trace)
