"""The context of a handler: data of its job, and calls to the worker while the job runs.

`Context` is for async handlers, and cheap to make, because each job needs one; `blocking_context` has the same for sync
handlers. A `JobCalls` (`agentpool_worker.jobs.queue_calls`) carries checkpoints and child jobs to the queue.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from agentpool_core.jobs import JobRequest, Priority
from agentpool_core.queue.codec.signals import check_signal
from agentpool_core.queue.usage import billionths, check_cost, check_usage
from agentpool_worker.blocking_context import BlockingContext
from agentpool_worker.durable.child_requests import Child, ChildOptions, child_request, member_request
from agentpool_worker.durable.children import Children, GroupPolicy, GroupStore
from agentpool_worker.durable.journal import StepStore
from agentpool_worker.durable.output import ChunkStore, Output
from agentpool_worker.durable.steps import StepOptions, Steps, bound
from agentpool_worker.durable.usage import Spending, UsageStore
from agentpool_worker.durable.waits import SignalStore, WaitRules, Waits
from agentpool_worker.exceptions import Yielded
from agentpool_worker.spans import record_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
    from datetime import timedelta

    from agentpool_core.jobs import JobId, Lease, Receipt
    from agentpool_worker.durable.steps import StepCall

log = logging.getLogger("agentpool_worker.job")

_ONCE = StepOptions()


def _no_suspend(_ctx: Context) -> None:
    """Leave it to the caller, which raises CancelledError."""


class JobCalls(StepStore, SignalStore, ChunkStore, UsageStore, GroupStore, Protocol):
    """How a running job reaches the queue."""

    async def checkpoint(self, lease: Lease, state: Any) -> None:
        """Save the job's state; raises StaleLeaseError when the lease has passed to a different worker."""

    async def progress(self, lease: Lease, value: Any) -> None:
        """Publish the job's progress."""

    async def submit(self, request: JobRequest) -> Receipt:
        """Submit a job to the same pool."""


class Context:
    """An attempt at a job, as seen by its async handler."""

    __slots__ = (
        "_calls", "_children", "_lease", "_loop", "_output", "_spending", "_state", "_steps",
        "_stop_at", "_waits", "cancelled", "reports", "suspend", "task", "wait_rules", "yielding",
    )  # fmt: skip

    def __init__(self, lease: Lease, calls: JobCalls, stop_at: float) -> None:
        self._lease = lease
        self._calls = calls
        self._stop_at = stop_at  # time.monotonic() at which the attempt times out
        self._state = lease.checkpoint
        self._loop: asyncio.AbstractEventLoop | None = None
        self._steps: Steps | None = None  # made with the first step
        self._output: Output | None = None  # made with the first chunk
        self._waits: Waits | None = None  # made with the first wait
        self._spending: Spending | None = None  # made with the first report or reservation
        self._children: Children | None = None  # made with the first group
        self.reports = 0  # calls of `progress` and `emit`, as a measure of speed
        self.task: object = None  # in which the handler runs
        self.suspend: Callable[[Context], None] = _no_suspend  # ends the attempt, because the job waits
        self.wait_rules: WaitRules | None = None  # of the pool; None: the defaults
        self.cancelled = False  # the job must stop: timeout, cancellation, or a leaving worker
        self.yielding = False  # the next checkpoint requeues the job

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
        """Return the number of this attempt, from 1; the attempt after a requeue has the same number."""
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
        """Return the last checkpoint, of this attempt or an earlier attempt; None: nothing."""
        return self._state

    @property
    def parents(self) -> Mapping[JobId, Any]:
        """Return the results of the parents that succeeded."""
        return MappingProxyType(dict(self._lease.parents))

    @property
    def trace(self) -> Mapping[str, str]:
        """The W3C trace headers that came with the job; empty when there were none."""
        return self._lease.trace

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Return a logger that adds the job's id, kind and attempt to each line."""
        return _JobLog(log, {"job_id": self.job_id, "kind": self.kind, "attempt": self.attempt})

    async def checkpoint(self, state: Any) -> None:
        """Save the job's state for a later attempt, as `ctx.state`. A good place for an interruption.

        Raises StaleLeaseError when the lease has passed to a different worker. In a job that was asked to yield the
        call does not return: the job is requeued with this state and continues later, without counting an attempt.
        """
        if self.yielding:
            raise Yielded(state)
        await self._calls.checkpoint(self._lease, state)
        self._state = state
        if self.yielding:  # asked while the state was being sent
            raise Yielded(state)

    @property
    def steps(self) -> Steps:
        """Return the durable steps of this attempt: the machinery below `ctx.step`."""
        if self._steps is None:
            self._steps = Steps(self._lease, self._calls, self._stop_at - self._lease.timeout_ms / 1000)
            self._steps.root = self.task
        return self._steps

    async def step(
        self,
        name: str,
        function: Callable[..., Any],
        *args: Any,
        options: StepOptions | None = None,
        **keywords: Any,
    ) -> Any:
        """Run `function(*args, **keywords)` once, and return its result from the store in every later attempt.

        The function may be async, or sync (then it runs in a thread). The result is a JSON value, as it is after
        encoding: a tuple becomes a list. A repeated name is numbered by the order of the calls. Raises StepFailedError
        after an error of the function, StepOrderError if the program has changed since an earlier attempt,
        StepResultError for a result that cannot be stored, StepFunctionError for a call in place of a function,
        StaleLeaseError when the lease has passed to a different worker. Like `checkpoint`, the call does not return in
        a job that was asked to yield.
        """
        work = bound(name, function, args, keywords)
        call = self.steps.begin(name)
        try:
            result = await self.steps.run(call, work, options or _ONCE)
        finally:
            self.steps.end(call)
        if self.yielding:
            raise Yielded(None)
        return result

    @property
    def waits(self) -> Waits:
        """Return the waits of this attempt: the machinery below `ctx.sleep` and `ctx.wait_for`."""
        if self._waits is None:
            self._waits = Waits(self.steps, self._calls, lambda: self.suspend(self), self.wait_rules)
        return self._waits

    async def sleep(self, delay: timedelta | float) -> None:
        """Wait for a length of time (a timedelta or seconds), without a slot, through restarts of workers and Redis.

        The attempt ends here, without being counted, and a later attempt continues behind the sleep: steps return from
        the store, all other code runs again. A short sleep (`spec.queue.waits.keepSeconds`) keeps the attempt instead.
        """
        await self._wait_durably(None, delay)

    async def wait_for(
        self,
        signal: str,
        *,
        timeout: timedelta | float | None = None,  # noqa: ASYNC109
        question: Any = None,
    ) -> Any:
        """Wait for a signal without a slot, like `sleep`, and return its value: `client.signal(job, "approval", …)`.

        Each signal is delivered to one wait, in the order of their coming; a signal may come before the wait. The
        `question` (any JSON value) is shown to the senders of the signal. Raises TimeoutError after `timeout` (a
        timedelta or seconds; None: no limit).
        """
        check_signal(signal)
        return await self._wait_durably(signal, timeout, question)

    async def _wait_durably(self, signal: str | None, limit: timedelta | float | None, question: Any = None) -> Any:
        call = self.waits.begin(signal, limit)
        try:
            return await self.waits.run(call, signal, limit, question)
        finally:
            self.steps.end(call)

    @property
    def children(self) -> Children:
        """Return the groups of children of this attempt: the machinery below `ctx.map` and `ctx.gather`."""
        if self._children is None:
            self._children = Children(self.steps, self.waits, self._calls)
        return self._children

    async def map(
        self,
        kind: str,
        payloads: Iterable[Any],
        options: ChildOptions | None = None,
        *,
        max_running: int | None = None,
        return_exceptions: bool = False,
        name: str | None = None,
    ) -> list[Any]:
        """Start a child job for each payload, wait for them without a slot, and return their results in order.

        Every attempt gets the same children. After the first child that does not succeed, the others are cancelled,
        and ChildFailedError is raised; with `return_exceptions` all children end, and the errors stand among the
        results. `max_running` bounds the children that run at once. Raises ChildrenChangedError for other
        payloads than in an earlier attempt.
        """
        children = [Child(kind=kind, payload=payload, options=options) for payload in payloads]
        return await self.gather(
            *children, max_running=max_running, return_exceptions=return_exceptions, name=name or kind
        )

    async def gather(
        self,
        *children: Child,
        max_running: int | None = None,
        return_exceptions: bool = False,
        name: str = "gather",
    ) -> list[Any]:
        """Start children of any kinds; else as `map`. `name` distinguishes groups in the list of steps."""
        call, requests = self.begin_group(children, name)
        try:
            policy = GroupPolicy(max_running=max_running, return_exceptions=return_exceptions)
            return await self.children.run(call, requests, policy)
        finally:
            self.steps.end(call)

    def begin_group(self, children: Sequence[Child], name: str) -> tuple[StepCall, list[JobRequest]]:
        """Name a group in the caller's task, and return the requests of its children."""
        requests = [member_request(self._lease, child) for child in children]
        return self.children.begin(name), requests

    async def emit(self, value: Any) -> None:
        """Append a chunk (any JSON value of at most 64 KiB) to the job's output; return when the queue has stored it.

        Readers follow the output by `receipt.stream()`, `agentpool stream JOB` and `GET …/jobs/JOB/stream`. The queue
        keeps about the newest 10,000 chunks of a job. Emit inside of steps: a later run of the handler does not repeat
        what finished steps have emitted. Raises InvalidJobError, StaleLeaseError.
        """
        if self._output is None:
            self._output = Output(self._lease, self._calls)
        await self._output.emit(value)
        self.reports += 1

    async def usage(
        self, *, input_tokens: int = 0, output_tokens: int = 0, cost: float | None = None, model: str | None = None
    ) -> None:
        """Report the usage of a call of a model; return when the queue has added it to the job's totals.

        `cost` is money, in a unit of your choice that all handlers of the pool share; it replaces the oldest `charge`.
        Report inside of steps: a later run of the handler does not repeat what finished steps have reported. Raises
        InvalidJobError, StaleLeaseError.
        """
        report = check_usage(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost, model=model)
        await self._spend().add(report, costed=cost is not None)
        record_usage(report)

    async def charge(self, cost: float = 0.0) -> None:
        """Reserve money for a call that follows; `usage(cost=…)` then replaces it by the real cost.

        Raises BudgetExceededError if a budget of the job has less money left, or none: nothing is reserved then. Not
        caught, the job waits for the budget's next window without a slot, and the attempt does not count.
        """
        await self._spend().charge(billionths(check_cost(cost)))

    def _spend(self) -> Spending:
        if self._spending is None:
            self._spending = Spending(self._lease, self._calls)
        return self._spending

    async def patched(self, name: str) -> bool:
        """Return whether this job takes a changed part of the program:  `if await ctx.patched("audit"):`.

        False in a job that had passed this place before the change; its later attempts get the same answer.
        """
        return not await self.steps.passed(name)

    async def progress(self, value: Any) -> None:
        """Publish the job's progress (any JSON value) for observers of the job."""
        await self._calls.progress(self._lease, value)
        self.reports += 1

    async def submit(self, kind: str, payload: Any = None, options: ChildOptions | None = None) -> Receipt:
        """Submit a child job to the same pool, within this job's trace.

        Raises the errors of `Producer.submit`: QueueFullError, InvalidJobError, QueueUnreachableError, ….
        """
        return await self._calls.submit(child_request(self._lease, kind, payload, options or ChildOptions()))

    def blocking(self) -> BlockingContext:
        """Return the same context for a handler that runs in a thread. Called in the event loop."""
        self._loop = asyncio.get_running_loop()
        return BlockingContext(self, self._loop)


class _JobLog(logging.LoggerAdapter[logging.Logger]):
    """Adds the job's fields to the fields of the call."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return the message unchanged, with `extra` merged."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


__all__: Sequence[str] = ("BlockingContext", "Child", "ChildOptions", "Context", "JobCalls", "StepOptions")
