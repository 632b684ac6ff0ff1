"""What a handler knows of its job, and what it may ask of the worker while the job runs.

`Context` is for async handlers; `BlockingContext` has the same names for sync handlers, which run in threads, and
blocks where the async one awaits. Both are cheap to make, because one is made for every job.
Who takes over next: a `JobLink` (`agentpool_worker.link`) carries saves and child jobs to the queue.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from agentpool.jobs import JobRequest, Priority
from agentpool.tracing import child_of
from agentpool_worker.signals import Yielded

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, MutableMapping, Sequence

    from agentpool.jobs import JobId, Lease, Receipt

log = logging.getLogger("agentpool.worker.job")


class JobLink(Protocol):
    """How a running job reaches the queue."""

    async def checkpoint(self, lease: Lease, state: Any) -> None:
        """Saves the job's state; raises StaleLeaseError when the lease has passed to another worker."""

    async def progress(self, lease: Lease, value: Any) -> None:
        """Publishes the job's progress."""

    async def submit(self, request: JobRequest) -> Receipt:
        """Submits a job to the same pool."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildOptions:
    """How a child job is to run; what is None comes from the pool's settings."""

    priority: Priority | None = None  # None: the parent's
    key: str | None = None  # names this child within its parent, so that a retried parent does not submit it again
    after: tuple[JobId, ...] = ()  # jobs that must end first
    delay_seconds: float = 0.0
    timeout_seconds: float | None = None  # one attempt's longest run
    max_attempts: int | None = None
    preemptible: bool = False


class Context:
    """One attempt at one job, as its async handler sees it."""

    __slots__ = ("_lease", "_link", "_loop", "_state", "_stop_at", "cancelled", "yielding")

    def __init__(self, lease: Lease, link: JobLink, stop_at: float) -> None:
        self._lease = lease
        self._link = link
        self._stop_at = stop_at  # time.monotonic() at which the attempt times out
        self._state = lease.checkpoint
        self._loop: asyncio.AbstractEventLoop | None = None
        self.cancelled = False  # the job is to stop: it timed out, was cancelled, or its worker leaves
        self.yielding = False  # the next checkpoint hands the job back

    @property
    def job_id(self) -> JobId:
        """The job's id, the same in every attempt."""
        return self._lease.job_id

    @property
    def kind(self) -> str:
        """The kind of job, which picked this handler."""
        return self._lease.kind

    @property
    def priority(self) -> Priority:
        """The job's priority."""
        return self._lease.priority

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; one that was handed back by a drain or a preemption counts again."""
        return self._lease.attempt

    @property
    def max_attempts(self) -> int:
        """How many attempts the job has in all."""
        return self._lease.max_attempts

    @property
    def remaining_seconds(self) -> float:
        """How long this attempt may still run; never below 0."""
        return max(0.0, self._stop_at - time.monotonic())

    @property
    def deadline(self) -> datetime:
        """When this attempt times out, in UTC by this host's clock."""
        return datetime.fromtimestamp(time.time() + self._stop_at - time.monotonic(), UTC)

    @property
    def state(self) -> Any:
        """What the job last saved, in this attempt or an earlier one; None: nothing."""
        return self._state

    @property
    def parents(self) -> Mapping[JobId, Any]:
        """The result of each job that this one waited for and that succeeded."""
        return MappingProxyType(dict(self._lease.parents))

    @property
    def trace(self) -> Mapping[str, str]:
        """The W3C trace headers that came with the job; empty when there were none."""
        return self._lease.trace

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the job's id, kind and attempt."""
        return _JobLog(log, {"job_id": self.job_id, "kind": self.kind, "attempt": self.attempt})

    async def checkpoint(self, state: Any) -> None:
        """Saves the job's state: a later attempt finds it in `ctx.state`. A good place to be interrupted.

        Raises StaleLeaseError when the lease has passed to another worker. A job that was asked to step aside does
        not return from here: it is handed back with this state and continues later, no attempt counted.
        """
        if self.yielding:
            raise Yielded(state)
        await self._link.checkpoint(self._lease, state)
        self._state = state
        if self.yielding:  # asked while the state was on its way
            raise Yielded(state)

    async def progress(self, value: Any) -> None:
        """Publishes how far the job is (any JSON value); those who watch the job see it."""
        await self._link.progress(self._lease, value)

    async def submit(self, kind: str, payload: Any = None, options: ChildOptions | None = None) -> Receipt:
        """Submits a child job to the same pool; it carries on this job's trace.

        Raises what `Producer.submit` raises: QueueFullError, InvalidJobError, QueueUnreachableError, ….
        """
        return await self._link.submit(_child_request(self._lease, kind, payload, options or ChildOptions()))

    def blocking(self) -> BlockingContext:
        """The same context for a handler that runs in a thread. Called in the event loop."""
        self._loop = asyncio.get_running_loop()
        return BlockingContext(self, self._loop)


class BlockingContext:
    """One attempt at one job, as a sync handler in its thread sees it: as `Context`, but nothing is awaited."""

    __slots__ = ("_ctx", "_loop")

    def __init__(self, ctx: Context, loop: asyncio.AbstractEventLoop) -> None:
        self._ctx = ctx
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        """What needs no waiting is the async context's: job_id, kind, attempt, state, cancelled, log, …."""
        return getattr(self._ctx, name)

    def checkpoint(self, state: Any) -> Any:
        """Saves the job's state; see `Context.checkpoint`. Raises CancelledError in a job that is to stop."""
        self._raise_if_cancelled()
        return self._wait(self._ctx.checkpoint(state))

    def progress(self, value: Any) -> Any:
        """Publishes how far the job is. Raises CancelledError in a job that is to stop."""
        self._raise_if_cancelled()
        return self._wait(self._ctx.progress(value))

    def submit(self, kind: str, payload: Any = None, options: ChildOptions | None = None) -> Receipt:
        """Submits a child job to the same pool; see `Context.submit`."""
        receipt: Receipt = self._wait(self._ctx.submit(kind, payload, options))
        return receipt

    def _raise_if_cancelled(self) -> None:
        # A thread cannot be interrupted from outside, so it is where it reports that it learns it should stop.
        if self._ctx.cancelled:
            raise asyncio.CancelledError

    def _wait(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Block until the call has ended; inside a coroutine return it as an awaitable instead.

        A wrapper of an async handler runs in a thread and hands this context on to the coroutine that it returns.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(call, self._loop).result()
        if running is self._loop:
            return call
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))


class _JobLog(logging.LoggerAdapter[logging.Logger]):
    """Adds the job's fields beside those that the call itself brings."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """The message as it is, with `extra` merged."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def _child_request(lease: Lease, kind: str, payload: Any, options: ChildOptions) -> JobRequest:
    return JobRequest(
        kind=kind,
        payload=payload,
        priority=options.priority or lease.priority,
        idempotency_key=None if options.key is None else f"{lease.job_id}/{options.key}",
        after=options.after,
        delay_ms=round(options.delay_seconds * 1000),
        timeout_ms=None if options.timeout_seconds is None else round(options.timeout_seconds * 1000),
        max_attempts=options.max_attempts,
        preemptible=options.preemptible,
        trace=child_of(lease.trace),
    )


__all__: Sequence[str] = ("BlockingContext", "ChildOptions", "Context", "JobLink")
