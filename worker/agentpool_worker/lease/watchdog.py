"""Detect a blocked event loop of jobs, with the responsible handler and the duration.

The jobs' loop leaves a time mark ten times a second, which the side loop reads. A process that was suspended as a whole
(SIGSTOP, a frozen virtual machine) leaves old marks too, but then the side loop overslept as well, which is
distinguished. Native code that keeps Python's lock looks the same from inside, so each look is also a liveness signal
for the supervisor, which kills a process that shows none. After a long block the lease is given up: `give_up` reports
the blocking job to the queue, and may end the process. `agentpool_worker.lease.blocked_loop` gives the lease up,
`agentpool_worker.telemetry.health` reports it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from agentpool_worker.supervision import lifeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agentpool_core.jobs import JobId
    from agentpool_worker.jobs.execution import Execution
    from agentpool_worker.jobs.running_jobs import RunningJobs
    from agentpool_worker.telemetry.metrics import WorkerMetrics

log = logging.getLogger(__name__)

MARK_SECONDS = 0.1  # between time marks
LOOK_SECONDS = 0.25  # between looks
SIGN_SECONDS = 6.0  # that a liveness signal may be later than the end of the longest block: giving up takes a moment
UNREADY_SECONDS = 10.0  # of a block after which the worker is not ready
_SHOWN_FRAMES = 5  # innermost frames of the blocked handler in the log


class Watchdog:
    """Watches an event loop from a second loop. Created in the watched loop."""

    def __init__(
        self,
        *,
        running_jobs: RunningJobs,
        metrics: WorkerMetrics,
        warn_seconds: float,
        give_up_seconds: float,
        give_up: Callable[[str, Sequence[JobId]], Awaitable[None]],
    ) -> None:
        self._running_jobs = running_jobs
        self._metrics = metrics
        self._warn_seconds = warn_seconds
        self._give_up_seconds = give_up_seconds
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._marked_at = time.monotonic()
        self._timer = self._loop.call_later(MARK_SECONDS, self._mark)
        self._give_up = give_up  # called with the evidence, and the culprits if known
        self._reported_seconds = 0.0  # duration of the present block at the last log line
        self.given_up = False
        self._promise()  # here, because the first job may stop every thread before the first look

    @property
    def blocked_seconds(self) -> float:
        """Return how long the loop has been blocked; below the distance of marks in a running loop."""
        return time.monotonic() - self._marked_at

    def close(self) -> None:
        """Stop leaving marks."""
        self._timer.cancel()

    async def run(self) -> None:
        """Check the marks for ever; runs in the side loop."""
        try:
            await self._look_for_ever()
        finally:
            lifeline.promise_nothing()

    async def _look_for_ever(self) -> None:
        slept_from = time.monotonic()
        while True:
            self._promise()
            await asyncio.sleep(LOOK_SECONDS)
            overslept = time.monotonic() - slept_from - LOOK_SECONDS
            slept_from = time.monotonic()
            if overslept > self._warn_seconds:
                # If native code kept Python's lock, the handler is often, but not always, still running.
                log.warning("the whole process was suspended for %.1f s: %s", overslept, self._culprit())
                self._marked_at = max(self._marked_at, slept_from - LOOK_SECONDS)
                continue
            if self.look(self.blocked_seconds):
                how = f"its event loop has been blocked for {self.blocked_seconds:.0f} s: {self._culprit()}"
                await self._give_up(how, self._culprits())

    def _promise(self) -> None:
        lifeline.promise(self._give_up_seconds + SIGN_SECONDS)

    def impediment(self) -> str | None:
        """Return why no job can make progress here; None while the loop turns."""
        if self.blocked_seconds < min(UNREADY_SECONDS, self._give_up_seconds / 2):
            return None
        execution = self._running_now()
        by = "" if execution is None else f" by {_describe_execution(execution)}"
        return f"has an event loop that is blocked{by}"  # without a number: a condition repeats the text

    def look(self, blocked: float) -> bool:
        """Log a block when it becomes relevant and at each doubling; return whether to give up now."""
        if blocked < self._warn_seconds:
            self._report_recovery()
            return False
        if blocked >= max(self._warn_seconds, self._reported_seconds * 2):
            if not self._reported_seconds:
                self._metrics.loop_blocks += 1
            self._reported_seconds = blocked
            log.error("the event loop has been blocked for %.1f s: %s", blocked, self._culprit())
        if blocked >= self._give_up_seconds and not self.given_up:
            self.given_up = True
            log.critical(
                "the event loop has been blocked for %.1f s: the lease on %d jobs is released for other workers",
                blocked, len(self._running_jobs.running),
            )  # fmt: skip
            return True
        return False

    def _report_recovery(self) -> None:
        if self._reported_seconds:
            log.warning("the event loop runs again after at least %.1f s", self._reported_seconds)
        self._reported_seconds = 0.0
        self.given_up = False

    def _mark(self) -> None:
        now = time.monotonic()
        self._metrics.record_lag(max(0.0, now - self._marked_at - MARK_SECONDS))
        self._marked_at = now
        self._timer = self._loop.call_later(MARK_SECONDS, self._mark)

    def _running_now(self) -> Execution | None:
        return self._running_jobs.of_task(_current_task(self._loop))

    def _culprits(self) -> list[JobId]:
        execution = self._running_now()
        return [] if execution is None else [execution.lease.job_id]

    def _culprit(self) -> str:
        """Describe the job with the running handler, and the innermost lines of the code."""
        execution = self._running_now()
        handler = "no job's handler" if execution is None else _describe_execution(execution)
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - the only way to see another thread's stack
        if frame is None:
            return handler
        lines = traceback.format_stack(frame)[-_SHOWN_FRAMES:]
        return f"{handler} is at\n{''.join(lines).rstrip()}"


def _describe_execution(execution: Execution) -> str:
    lease = execution.lease
    return f"the handler of {lease.kind!r} (job {lease.job_id}, attempt {lease.attempt})"


def _current_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[object] | None:
    current: Callable[[asyncio.AbstractEventLoop], asyncio.Task[object] | None] = asyncio.current_task
    try:
        return current(loop)
    except RuntimeError:
        return None
