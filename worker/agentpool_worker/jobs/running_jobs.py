"""The running jobs: started when claimed, found for an order, stopped at their deadline.

A single timer serves the deadlines of all jobs. The timer is armed for the earliest known deadline; when the timer
fires, all running jobs are checked and the timer is armed again. A job that ends in time costs nothing.
`agentpool_worker.jobs.execution` runs each job, `agentpool_worker.jobs.completion_buffer` takes the completion.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_core.queue.completions import Completion, Failed, Returned, ReturnReason, Succeeded
from agentpool_worker.jobs.execution import Execution, Stop
from agentpool_worker.slots.recorder import Work
from agentpool_worker.slots.semaphore import PLAIN
from agentpool_worker.spans import is_tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agentpool_core.jobs import JobId, Lease, LeaseToken
    from agentpool_core.queue.settings import Route
    from agentpool_worker.context import Context, JobCalls
    from agentpool_worker.durable.waits import WaitRules
    from agentpool_worker.guards.fitness import Fitness
    from agentpool_worker.handlers import HandlerSet
    from agentpool_worker.jobs.completion_buffer import CompletionBuffer
    from agentpool_worker.slots.recorder import Recorder
    from agentpool_worker.slots.semaphore import Slots
    from agentpool_worker.telemetry.metrics import WorkerMetrics

log = logging.getLogger(__name__)

_NEVER = float("inf")


class RunningJobs:
    """Every attempt that runs in this worker. Used from the jobs' event loop only."""

    def __init__(
        self,
        *,
        handlers: HandlerSet,
        slots: Slots,
        buffer: CompletionBuffer,
        calls: JobCalls,
        metrics: WorkerMetrics,
        grace_seconds: float,
        overloaded: Callable[[], None],
        recorder: Recorder,
        fitness: Fitness,
        wait_rules: Callable[[], WaitRules | None] = lambda: None,
        cost_of: Callable[[str], Route] = lambda _route: PLAIN,
    ) -> None:
        self._handlers = handlers
        self._slots = slots
        self._buffer = buffer
        self._calls = calls
        self._metrics = metrics
        self._grace_seconds = grace_seconds
        self._overloaded = overloaded
        self._recorder = recorder
        self._fitness = fitness
        self._wait_rules = wait_rules
        self._cost_of = cost_of  # of a route, by name
        self.exhausted = ""  # description of the exhausted memory, while the worker leaves for this reason
        self._loop = asyncio.get_running_loop()
        self._armed_for = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.running: dict[Execution, None] = {}  # in the order of their start, in which they are stopped

    def start(self, leases: Iterable[Lease]) -> None:
        """Start an attempt at each claimed job; return jobs without a handler, fail unreadable jobs."""
        now = time.monotonic()
        earliest = _NEVER
        tracing, rules = is_tracing(), self._wait_rules()  # the same for all, and too dear for each
        for lease in leases:
            if lease.fault is not None:
                self._buffer.add(_as_undecodable(lease, lease.fault), lease)
                continue
            run_job = self._handlers.find(lease.kind)
            if run_job is None:
                self._buffer.add(self._as_unknown_kind(lease), lease)
                continue
            execution = Execution(lease, self._calls, now, tracing=tracing)
            execution.ctx.suspend, execution.ctx.wait_rules = self._suspend, rules
            self.running[execution] = None
            execution.cost = self._cost_of(lease.route)
            self._slots.take(execution.cost)
            execution.recorded = self._recorder.begin(lease.kind, execution.ctx)
            execution.task = self._loop.create_task(execution.run(run_job, self._finish))
            self._metrics.record_start(lease)
            earliest = min(earliest, execution.stop_at)
        if self.running:
            self._empty.clear()
            self._arm(earliest)

    def requeue(self, leases: Iterable[Lease]) -> None:
        """Return these jobs to their place in the queue without an attempt."""
        for lease in leases:
            self._buffer.add(Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.DRAIN), lease)

    def find(self, job_id: JobId, token: LeaseToken) -> Execution | None:
        """Return the attempt under this lease, or None after the end."""
        for execution in self.running:
            if execution.lease.job_id == job_id and execution.lease.token == token:
                return execution
        return None

    def stop(self, execution: Execution, stop: Stop, *, grace_seconds: float | None = None) -> None:
        """Ask an attempt to stop; abandon the attempt after the grace period."""
        grace = self._grace_seconds if grace_seconds is None else grace_seconds
        execution.begin_stop(stop, time.monotonic(), grace)
        self._arm(execution.stop_at)

    def stop_all(self, stop: Stop, *, grace_seconds: float | None = None) -> int:
        """Ask every attempt to stop that was not asked before; return their number.

        An attempt that is already stopping for a different reason gets this grace period at most.
        """
        unasked = (None, Stop.DRAIN)
        asked = [execution for execution in self.running if execution.stop in unasked]
        hastened = [each for each in self.running if grace_seconds is not None and each.stop not in unasked]
        for execution in asked:
            self.stop(execution, stop, grace_seconds=grace_seconds)
        for execution in hastened:
            execution.stop_at = min(execution.stop_at, time.monotonic() + (grace_seconds or 0.0))
            self._arm(execution.stop_at)
        return len(asked)

    def disown(self, leases: Iterable[tuple[JobId, LeaseToken]]) -> None:
        """Stop the attempts at these jobs, which the queue does not lease to this worker."""
        for job_id, token in leases:
            execution = self.find(job_id, token)
            if execution is not None:
                self.stop(execution, Stop.LEASE_LOST)

    def ask_all_to_yield(self, reason: ReturnReason) -> None:
        """Requeue every job at the next checkpoint."""
        for execution in self.running:
            execution.ask_to_yield(reason)

    async def wait_empty(self) -> None:
        """Return when no job runs."""
        await self._empty.wait()

    def of_task(self, task: asyncio.Task[object] | None) -> Execution | None:
        """Return the attempt of this task, or None. May be called from a different thread: only reads."""
        return next((execution for execution in tuple(self.running) if execution.task is task), None)

    def describe(self) -> str:
        """Describe the number of running jobs of each kind, for a log line. Thread-safe: only reads."""
        kinds = Counter(execution.lease.kind for execution in tuple(self.running))
        return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "no jobs"

    def close(self) -> None:
        """Cancel the timer; no job runs any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _suspend(self, ctx: Context) -> None:
        """End the attempt of a waiting job, unless the attempt ends for a different reason."""
        execution = next((execution for execution in self.running if execution.ctx is ctx), None)
        if execution is not None and execution.stop is None:
            self.stop(execution, Stop.WAITING)

    def _finish(self, execution: Execution, completion: Completion) -> None:
        if execution not in self.running:
            log.info("job %s has ended after it was abandoned", execution.lease.job_id)
            return
        del self.running[execution]
        self._slots.release(execution.cost)
        self._metrics.record_end(execution.lease.kind, time.monotonic() - execution.started_at)
        self._recorder.end(execution.recorded, _work_of(execution, completion))
        self._judge(execution, completion)
        if execution.stop is Stop.LEASE_LOST:  # under the same token, the queue may have given the job out again
            self._buffer.discard(execution.lease)
        else:
            self._buffer.add(self._by_cause(completion), execution.lease)
        if not self.running:
            self._empty.set()

    def _judge(self, execution: Execution, completion: Completion) -> None:
        """Pass on the attempt's information about the handler's load and the worker."""
        if execution.overloaded:
            self._overloaded()
        if execution.unfit:
            self._fitness.record_failure(execution.lease.job_id, execution.unfit)
        elif not isinstance(completion, Returned):
            self._fitness.record_end()

    def _by_cause(self, completion: Completion) -> Completion:
        """Adapt the completion of an unfinished job to the reason."""
        if self.exhausted and isinstance(completion, Returned) and completion.reason is ReturnReason.DRAIN:
            return replace(completion, reason=ReturnReason.EXHAUSTED, said=self.exhausted)
        return completion

    def _arm(self, at: float) -> None:
        if at >= self._armed_for:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = at
        self._timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._ring) if at < _NEVER else None

    def _ring(self) -> None:
        self._armed_for = _NEVER
        self._timer = None
        now = time.monotonic()
        for execution in [execution for execution in self.running if execution.stop_at <= now]:
            self._stop_overdue(execution)
        self._arm(min((execution.stop_at for execution in self.running), default=_NEVER))

    def _stop_overdue(self, execution: Execution) -> None:
        if execution.stop is None:
            self.stop(execution, Stop.TIMEOUT)
            return
        log.error(
            "job %s (%s) did not stop in time and is abandoned; its handler must not suppress CancelledError",
            execution.lease.job_id, execution.lease.kind,
        )  # fmt: skip
        self._metrics.abandoned += 1
        self._finish(execution, execution.abandon())

    def _as_unknown_kind(self, lease: Lease) -> Returned:
        """Return a job without a handler: a different version of the program may know the kind."""
        known = ", ".join(self._handlers.kinds or ()) or "none"
        return Returned(
            job_id=lease.job_id,
            token=lease.token,
            reason=ReturnReason.UNKNOWN_KIND,
            said=f"no handler for kind {lease.kind!r}; this worker's kinds are: {known}",
        )


def _work_of(execution: Execution, completion: Completion) -> Work:
    """Return what an attempt says about the speed of its kind."""
    if execution.overloaded:
        return Work.REFUSED
    return Work.DONE if isinstance(completion, Succeeded) else Work.UNKNOWN


def _as_undecodable(lease: Lease, fault: str) -> Failed:
    return Failed(job_id=lease.job_id, token=lease.token, error=fault, retry=False, reason="undecodable")
