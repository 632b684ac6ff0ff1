"""A test kit for handlers, without Redis: attempts, kills between steps, a clock, signals, recorded output and usage.

    from agentpool_worker.testing import JobUnderTest

    async def test_the_draft_waits_for_approval():
        job = JobUnderTest(publish, {"topic": "redis"})
        assert await job.run() == "waiting"
        job.signal("approval", {"approved": True})
        assert await job.run(kill_after=["draft"]) == "succeeded"

`run` goes on until the job waits or has ended, through retries and kills, as workers of a pool would. It uses the
execution of the real worker; only the queue is replaced.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import StaleLeaseError
from agentpool_core.jobs import JobId, JobState, Lease, LeaseToken, Priority, Receipt, Step, StepOutcome
from agentpool_core.queue.codec.json_text import decode, encode
from agentpool_core.queue.codec.signals import check_signal
from agentpool_core.queue.completions import Completion, Failed, Returned, Succeeded, Waiting
from agentpool_worker.handlers.shapes import run_job_of
from agentpool_worker.jobs.execution import Execution, Stop
from agentpool_worker.threads import HandlerThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agentpool_core.jobs import JobRequest
    from agentpool_core.queue.usage import UsageReport

_START_MS = 1_700_000_000_000
_RUNS_MAX = 1_000  # of one call of `run`: a handler that is killed for ever is a mistake of the test


class JobUnderTest:
    """A job of a handler, over as many attempts as it takes."""

    def __init__(self, handler: Callable[..., Any], payload: Any = None, *, max_attempts: int = 5) -> None:
        self._run_job = run_job_of(handler, HandlerThreads())
        self._payload = decode(encode("payload", payload))
        self._max_attempts = max_attempts
        self._store = _Store()
        self._token = 0
        self._due_ms: int | None = None  # end of the present wait
        self.now_ms = _START_MS  # the clock, which only `advance` moves
        self.attempt = 0  # counted attempts so far
        self.state = JobState.QUEUED
        self.result: Any = None
        self.error: str | None = None  # of the latest failed attempt
        self.waits_for: tuple[str, ...] = ()  # signals that the job waits for

    @property
    def steps(self) -> list[Step]:
        """Return the stored steps, by number."""
        return [self._store.stored[number] for number in sorted(self._store.stored)]

    @property
    def question(self) -> Any:
        """Return the question of the present wait; None: the job does not wait, or has asked nothing."""
        waits = [step.result for step in self.steps if step.outcome is StepOutcome.WAITING]
        return next((wait["question"] for wait in waits if wait.get("question") is not None), None)

    @property
    def output(self) -> list[Any]:
        """Return the values that the handler has emitted, of all runs."""
        return self._store.output

    @property
    def progress(self) -> list[Any]:
        """Return the progress that the handler has published."""
        return self._store.published

    @property
    def usage(self) -> list[UsageReport]:
        """Return the usage that the handler has reported, of all runs."""
        return self._store.used

    @property
    def children(self) -> list[JobRequest]:
        """Return the jobs that the handler has submitted."""
        return self._store.submitted

    @property
    def runs(self) -> int:
        """Return how often the handler was started."""
        return self._token

    def signal(self, name: str, value: Any = None, *, id: str | None = None) -> bool:  # noqa: A002  # as in the client
        """Send a signal, as `client.signal` does; return False for a repeated id."""
        check_signal(name, id)
        return self._store.add_signal(name, encode("value", value), id)

    def advance(self, by: timedelta | float) -> None:
        """Move the clock; a wait whose time has come ends with the next `run`."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        self.now_ms += round(seconds * 1000)

    async def run(self, *, kill_after: Iterable[str] = (), kill_during: Iterable[str] = ()) -> str:
        """Run the job until it waits or has ended; return its state.

        The worker is killed once right after each step of `kill_after` was stored, and once right before each step of
        `kill_during` is stored, as by SIGKILL: nothing of that run counts but its stored steps.
        """
        self._store.kill_after, self._store.kill_during = Counter(kill_after), Counter(kill_during)
        for _ in range(_RUNS_MAX):
            if self.state.terminal or (self.state is JobState.WAITING and not self._wait_is_over()):
                return self.state.value
            self._apply(await self._run_once())
        raise AssertionError(f"the job has not ended after {_RUNS_MAX} runs of its handler")

    def _wait_is_over(self) -> bool:
        due = self._due_ms is not None and self._due_ms <= self.now_ms
        return due or any(name in self._store.signals for name in self._store.awaited)

    async def _run_once(self) -> Completion | None:
        """Return the end of one run; None: its worker was killed."""
        self._token += 1
        self.state = JobState.RUNNING
        execution = Execution(self._lease(), self._store, time.monotonic())
        execution.ctx.suspend = lambda _ctx: execution.begin_stop(Stop.WAITING, time.monotonic(), 0.0)
        ended: list[Completion] = []
        running = execution.run(self._run_job, lambda _, completion: ended.append(completion))
        execution.task = asyncio.ensure_future(running)
        steps = execution.ctx.steps
        steps.root, steps.clock = execution.task, lambda: execution.started_at  # only `advance` moves the clock
        await execution.task
        return None if execution.stop is Stop.LEASE_LOST else ended[0]

    def _lease(self) -> Lease:
        return Lease(
            job_id=JobId("job-under-test"),
            token=LeaseToken(self._token),
            kind="under-test",
            route="default",
            priority=Priority.TASK,
            payload=self._payload,
            attempt=self.attempt + 1,
            max_attempts=self._max_attempts,
            timeout_ms=900_000,
            enqueued_at_ms=_START_MS,
            claimed_at_ms=self.now_ms,
            checkpoint=self._store.saved,
        )

    def _apply(self, completion: Completion | None) -> None:
        self.state = JobState.QUEUED
        match completion:
            case None:  # a lost worker costs an attempt, but never the last one
                self.attempt = min(self.attempt + 1, self._max_attempts - 1)
            case Succeeded():
                self.attempt += 1
                self.state, self.result = JobState.SUCCEEDED, decode(encode("result", completion.result))
            case Waiting():
                self.state = JobState.WAITING
                self.waits_for = tuple(name for name, _ in completion.signals)
                self._store.awaited = set(completion.signals)
                self._due_ms = None if completion.after_ms is None else self.now_ms + completion.after_ms
            case Failed():
                self.attempt += 1
                self.error = completion.error
                if not completion.retry or self.attempt >= self._max_attempts:
                    self.state = JobState.FAILED
            case Returned():
                self._store.saved = completion.checkpoint or self._store.saved
            case _:
                self.state = JobState.CANCELLED


class _Store:
    """What a queue would keep of the job."""

    def __init__(self) -> None:
        self.stored: dict[int, Step] = {}
        self.signals: dict[tuple[str, int], str] = {}
        self.awaited: set[tuple[str, int]] = set()
        self.output: list[Any] = []
        self.published: list[Any] = []
        self.submitted: list[JobRequest] = []
        self.used: list[UsageReport] = []
        self.saved: Any = None
        self.kill_after: Counter[str] = Counter()
        self.kill_during: Counter[str] = Counter()
        self._signal_ids: set[str] = set()

    def add_signal(self, name: str, value: str, signal_id: str | None) -> bool:
        if signal_id is not None and signal_id in self._signal_ids:
            return False
        self._signal_ids.add(signal_id or f"~{len(self.signals)}")
        number = 1 + sum(each == name for each, _ in self.signals)
        self.signals[name, number] = value
        return True

    async def steps(self, lease: Lease) -> list[Step]:
        del lease
        return [replace(step, result=decode(encode("result", step.result))) for step in self.stored.values()]

    async def record_steps(self, lease: Lease, steps: Sequence[Step]) -> None:
        for step in steps:
            self._kill_once(self.kill_during, step, lease)
            self.stored[step.number] = replace(step, result=json.loads(json.dumps(step.result)))
            self._kill_once(self.kill_after, step, lease)

    def _kill_once(self, kills: Counter[str], step: Step, lease: Lease) -> None:
        """End the run as the loss of its worker does: the queue takes nothing from it any more."""
        if kills[step.name] > 0:
            kills[step.name] -= 1
            raise StaleLeaseError(lease.job_id, lease.token)

    async def signal_value(self, lease: Lease, name: str, number: int) -> str | None:
        del lease
        return self.signals.get((name, number))

    async def emit(self, lease: Lease, first: int, chunks: Sequence[str]) -> None:
        del lease, first
        self.output += map(decode, chunks)

    async def use(self, lease: Lease, first: int, reports: Sequence[UsageReport]) -> None:
        del lease, first
        self.used += reports

    async def checkpoint(self, lease: Lease, state: Any) -> None:
        del lease
        self.saved = decode(encode("checkpoint", state))

    async def progress(self, lease: Lease, value: Any) -> None:
        del lease
        self.published.append(value)

    async def submit(self, request: JobRequest) -> Receipt:
        self.submitted.append(request)
        job_id = request.job_id or JobId(f"child-{len(self.submitted)}")
        return Receipt(job_id=job_id, state=JobState.QUEUED, duplicate=False, queue_depth=1)


__all__ = ("JobUnderTest",)
