"""An attempt at a job: run the handler, and turn the end into a completion.

Nothing that a handler does escapes: exceptions, SystemExit and KeyboardInterrupt alike end the attempt and nothing
else. An attempt that must stop (timeout, cancel, drain, lost lease) is cancelled first; its behaviour during the grace
period decides the completion, and after the grace period the attempt is abandoned. `agentpool_worker.jobs.running_jobs`
starts, stops and counts executions; the completion goes to the completion buffer.
"""

from __future__ import annotations

import asyncio
import traceback
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import BudgetExceededError, StaleLeaseError
from agentpool_core.queue.completions import Cancelled, Completion, Failed, Returned, ReturnReason, Succeeded, Waiting
from agentpool_core.text import encodable, render_error
from agentpool_worker.context import Context
from agentpool_worker.exceptions import Overloaded, Permanent, Retry, Yielded
from agentpool_worker.guards.fitness import failure_of_worker
from agentpool_worker.slots.semaphore import PLAIN
from agentpool_worker.spans import attempt_span, is_tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentpool_core.jobs import Lease
    from agentpool_worker.context import JobCalls
    from agentpool_worker.handlers import RunJob
    from agentpool_worker.slots.recorder import Run

_OURS = Path(__file__).parents[1]
_TRACEBACK_FRAMES = 20  # the innermost are kept: they name the line that failed
_HEAD_CHARS = 2_000  # of an error's own text, which may be a whole web page
_TRACE_CHARS = 6_000  # of the end of the traceback; with the above, less than a record keeps
# Errors that decide on the job although further branches of a task group failed too, the first kind first.
_DECISIVE = (StaleLeaseError, Yielded, Permanent, Overloaded, Retry)


class Stop(Enum):
    """Reason to stop an attempt before its handler ends."""

    TIMEOUT = "timeout"  # ran longer than the job allows
    CANCELLED = "cancelled"  # the job was cancelled
    DRAIN = "drain"  # the worker leaves; the job is requeued, except after a success within the grace period
    WAITING = "waiting"  # the job waits for a signal or a time, and releases its slot
    LEASE_LOST = "lease_lost"  # the queue does not lease the job to this worker: the outcome is not reported


class Execution:
    """An attempt in progress. Created for every job, so small and passive."""

    __slots__ = (
        "cost", "ctx", "is_traced", "lease", "overloaded", "recorded", "started_at", "stop", "stop_at", "task", "unfit",
        "yield_reason",
    )  # fmt: skip

    def __init__(self, lease: Lease, calls: JobCalls, started_at: float, *, tracing: bool | None = None) -> None:
        """`tracing`: whether the program has set up a tracer, found once for all jobs of a claim; None: find it."""
        self.lease = lease
        self.is_traced = bool(lease.trace) or (is_tracing() if tracing is None else tracing)
        self.started_at = started_at  # time.monotonic()
        self.stop_at = started_at + lease.timeout_ms / 1000  # then, the next step of stopping is due
        self.ctx = Context(lease, calls, self.stop_at)
        self.stop: Stop | None = None
        self.yield_reason = ReturnReason.PREEMPTED
        self.overloaded = False  # the handler raised Overloaded
        self.unfit = ""  # the worker's failure in this attempt
        self.cost = PLAIN  # what the attempt took of the worker
        self.recorded: Run | None = None  # of the recorder of an adaptive worker
        self.task: asyncio.Task[None] | None = None

    async def run(self, run_job: RunJob, ended: Callable[[Execution, Completion], None]) -> None:
        """Await the handler and call `ended` once."""
        self.ctx.task = self.task
        if self.is_traced:
            with attempt_span(self.lease) as describe:
                completion = await self._completion_of(run_job)
                describe(completion)
        else:
            completion = await self._completion_of(run_job)
        ended(self, completion)

    async def _completion_of(self, run_job: RunJob) -> Completion:
        try:
            result = await run_job(self.lease.payload, self.ctx)
            while hasattr(type(result), "__await__"):  # of a wrapper that does not await its async function
                result = await result
        except BaseException as error:  # noqa: BLE001 - SystemExit and CancelledError too are this job's affair only
            return self._as_ended_safely(error)
        return self._as_completion(result)

    def ask_to_yield(self, reason: ReturnReason) -> None:
        """Requeue the job at its next checkpoint, unless the attempt ends for a different reason."""
        if self.stop in (None, Stop.DRAIN):
            self.yield_reason = reason
            self.ctx.yielding = True

    def begin_stop(self, stop: Stop, now: float, grace_seconds: float) -> None:
        """Cancel the handler; its behaviour within the grace period still counts."""
        self.stop = stop
        self.stop_at = now + grace_seconds
        self.ctx.cancelled = True
        if stop is not Stop.DRAIN:  # a later checkpoint is for the next attempt and does not undo this end
            self.ctx.yielding = False
        if self.task is not None:
            # Not at once: a task cancelled before its first step never enters `run`, and would never report its end.
            self.task.get_loop().call_soon(self.task.cancel, stop.value)

    def abandon(self) -> Completion:
        """Return the completion of an attempt that did not stop within the grace period."""
        return self._as_stopped()

    def _as_completion(self, result: Any) -> Completion:
        if self.stop is None or self.stop is Stop.DRAIN:
            return Succeeded(job_id=self.lease.job_id, token=self.lease.token, result=result)
        return self._as_stopped()

    def _as_ended_safely(self, error: BaseException) -> Completion:
        try:
            return self._as_ended(error)
        except BaseException as fault:  # noqa: BLE001 - an exception of the handler's own kind, which cannot be read
            return self._as_unreadable(error, fault)

    def _as_unreadable(self, error: BaseException, fault: BaseException) -> Failed:
        """Fail the attempt with an error that has no readable text; `fault` was raised by reading it."""
        try:
            return self._as_failed(fault)
        except BaseException:  # noqa: BLE001 - the fault is of the same kind
            return Failed(job_id=self.lease.job_id, token=self.lease.token, error=render_error(error))

    def _as_ended(self, error: BaseException) -> Completion:
        error = self._decisive(error)
        if isinstance(error, Yielded):
            return self._as_returned(error.state)
        if isinstance(error, StaleLeaseError) and error.job_id == self.lease.job_id:
            self.stop = Stop.LEASE_LOST  # a checkpoint was refused before a renewal has noticed
            return self._as_stopped()
        if self.stop is not None and (isinstance(error, asyncio.CancelledError) or self.stop is not Stop.DRAIN):
            return self._as_stopped()
        if words := failure_of_worker(error):
            return self._as_unfit(words)
        return self._as_deferred(error) or self._as_failed(error)

    def _decisive(self, error: BaseException) -> BaseException:
        """Return the error that decides on the job among those of a task group; the group itself if none does."""
        if not isinstance(error, BaseExceptionGroup):
            return error
        errors = list(_leaves(error))
        for kind in _DECISIVE:
            if found := next((each for each in errors if isinstance(each, kind)), None):
                return found
        return error

    def _as_stopped(self) -> Completion:
        job_id, token = self.lease.job_id, self.lease.token
        match self.stop:
            case Stop.TIMEOUT:
                limit = f"{self.lease.timeout_ms / 1000:g} s"
                return Failed(job_id=job_id, token=token, error=f"timeout: the attempt ran longer than {limit}")
            case Stop.CANCELLED:
                return Cancelled(job_id=job_id, token=token)
            case Stop.WAITING:
                signals, after_ms = self.ctx.waits.open_waits()
                return Waiting(job_id=job_id, token=token, signals=signals, after_ms=after_ms)
            case _:
                self.yield_reason = ReturnReason.DRAIN
                return self._as_returned(None)

    def _as_returned(self, state: Any) -> Returned:
        lease = self.lease
        return Returned(job_id=lease.job_id, token=lease.token, reason=self.yield_reason, checkpoint=state)

    def _as_deferred(self, error: BaseException) -> Completion | None:
        """Defer the job, without counting the attempt: an overload or a spent budget is no failure."""
        if isinstance(error, BudgetExceededError) and not error.fits_never:
            return Waiting(
                job_id=self.lease.job_id,
                token=self.lease.token,
                after_ms=error.next_window_ms,
                budget=error.budget,
            )
        if not isinstance(error, Overloaded):
            return None
        self.overloaded = True
        return Returned(
            job_id=self.lease.job_id,
            token=self.lease.token,
            reason=ReturnReason.OVERLOADED,
            after_ms=None if error.after_seconds is None else round(error.after_seconds * 1000),
            said=encodable(str(error)),
        )

    def _as_unfit(self, words: str) -> Returned:
        """Defer a job after a failure of the worker, not the handler, without counting an attempt."""
        self.unfit = words
        lease = self.lease
        return Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.UNFIT, said=encodable(words))

    def _as_failed(self, error: BaseException) -> Failed:
        retry_after_ms = None
        if isinstance(error, Retry):
            if error.after_seconds is not None:
                retry_after_ms = round(error.after_seconds * 1000)
            text = encodable(f"{type(error).__name__}: {error}")
        elif isinstance(error, Permanent | BudgetExceededError):
            text = encodable(f"{type(error).__name__}: {error}")
        else:
            text = encodable(_description_of(error))
        return Failed(
            job_id=self.lease.job_id,
            token=self.lease.token,
            error=text,
            retry=not isinstance(error, Permanent | BudgetExceededError),
            retry_after_ms=retry_after_ms,
        )


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _description_of(error: BaseException) -> str:
    """Return the error and its location, without the worker's own frames above the handler's."""
    frames = error.__traceback__
    while frames and frames.tb_next and Path(frames.tb_frame.f_code.co_filename).is_relative_to(_OURS):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames, limit=-_TRACEBACK_FRAMES)
    own = traceback.format_exception_only(type(error), error)  # a syntax error's place, the error, its notes
    head = next((line for line in own if not line.startswith(" ")), own[0])
    if lines[-len(own) :] == own:
        lines[-len(own) :] = [line for line in own if line is not head]
    return f"{head[:_HEAD_CHARS].rstrip()}\n{''.join(lines)[-_TRACE_CHARS:]}".strip()
