"""A test kit for handlers, without Redis: attempts, kills between steps, a clock, signals, recorded output and usage.

    from agentpool_worker.testing import JobUnderTest

    async def test_the_draft_waits_for_approval():
        job = JobUnderTest(publish, {"topic": "redis"})
        assert await job.run() == "waiting"
        job.signal("approval", {"approved": True})
        assert await job.run(kill_after=["draft"]) == "succeeded"

Children of `ctx.map` and `ctx.gather` run with the handlers of `child_handlers`, or end by `end_child`.

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

from agentpool_core.errors import BudgetExceededError, InvalidJobError, StaleLeaseError
from agentpool_core.jobs import JobId, JobState, Lease, LeaseToken, Priority, Receipt, Step, StepOutcome
from agentpool_core.queue.codec.json_text import decode, encode
from agentpool_core.queue.codec.signals import check_signal
from agentpool_core.queue.completions import Completion, Failed, Returned, Succeeded, Waiting
from agentpool_core.queue.groups import ChildEnd, GroupChange
from agentpool_core.queue.limits import DAY_MS
from agentpool_core.queue.usage import BILLION, billionths
from agentpool_worker.handlers.shapes import handler_of
from agentpool_worker.jobs.completion_buffer import replacement_for
from agentpool_worker.jobs.execution import Execution, Stop
from agentpool_worker.threads import HandlerThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from agentpool_core.jobs import GroupMember, JobRequest
    from agentpool_core.queue.usage import UsageReport

_START_MS = 1_700_000_000_000
_RUNS_MAX = 1_000  # of one call of `run`: a handler that is killed for ever is a mistake of the test


class JobUnderTest:
    """A job of a handler, over as many attempts as it takes."""

    def __init__(
        self,
        handler: Callable[..., Any],
        payload: Any = None,
        *,
        max_attempts: int = 5,
        budget: float | None = None,  # money that the handler may spend in a day of the clock
        child_handlers: Mapping[str, Callable[..., Any]] | None = None,  # by kind, for children of groups
    ) -> None:
        self._run_job = handler_of(handler, HandlerThreads()).run
        self._payload = decode(encode("payload", payload))
        self._max_attempts = max_attempts
        self._store = _Store(lambda: self.now_ms, budget)
        self._child_handlers = child_handlers or {}
        self._child_jobs: dict[JobId, JobUnderTest] = {}
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

    def end_child(self, job_id: str, result: Any = None, *, error: str | None = None) -> None:
        """End a child of a group; with an error it has failed for good."""
        self._store.groups.end(JobId(job_id), result, error)

    def advance(self, by: timedelta | float) -> None:
        """Move the clock; a wait that is due ends with the next `run`."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        self.now_ms += round(seconds * 1000)

    async def run(self, *, kill_after: Iterable[str] = (), kill_during: Iterable[str] = ()) -> str:
        """Run the job until it waits or has ended; return its state.

        The worker is killed once right after each step of `kill_after` was stored, and once right before each step of
        `kill_during` is stored, as by SIGKILL: nothing of that run counts but its stored steps.
        """
        self._store.kill_after, self._store.kill_during = Counter(kill_after), Counter(kill_during)
        for _ in range(_RUNS_MAX):
            if self.state.terminal:
                return self.state.value
            if self.state is not JobState.WAITING or self._wait_is_over():
                self._apply(_storable(await self._run_once()))
            elif not await self._run_children():
                return self.state.value
        raise AssertionError(f"the job has not ended after {_RUNS_MAX} runs of its handler")

    def _wait_is_over(self) -> bool:
        due = self._due_ms is not None and self._due_ms <= self.now_ms
        come = self._store.signals.keys() | self._store.groups.signals
        return due or any(name in come for name in self._store.awaited)

    async def _run_children(self) -> bool:
        """Run the children that have not ended; return whether one has ended."""
        ended = 0
        for request in self._store.groups.open():
            job_id = request.job_id or JobId("")
            if (handler := self._child_handlers.get(request.kind)) is None:
                continue
            if job_id not in self._child_jobs or self._child_jobs[job_id].state.terminal:
                attempts = request.max_attempts or self._max_attempts
                self._child_jobs[job_id] = JobUnderTest(
                    handler, request.payload, max_attempts=attempts, child_handlers=self._child_handlers
                )
            child = self._child_jobs[job_id]
            child.now_ms = self.now_ms
            await child.run()
            if child.state.terminal:
                error = None if child.state is JobState.SUCCEEDED else child.error or child.state.value
                self.end_child(job_id, child.result, error=error)
                ended += 1
        return ended > 0

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
            leased_at_ms=self.now_ms,
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


def _storable(completion: Completion | None) -> Completion | None:
    """Return the completion, or the failure that the worker sends in place of a result that is not JSON."""
    if isinstance(completion, Succeeded):
        try:
            encode("result", completion.result)
        except InvalidJobError as error:
            return replacement_for(completion, error)
    return completion


class _Store:
    """What a queue would keep of the job."""

    def __init__(self, now_ms: Callable[[], int], budget: float | None) -> None:
        self._now_ms = now_ms
        self._budget = budget
        self._spent: Counter[int] = Counter()  # billionths by day
        self.stored: dict[int, Step] = {}
        self.signals: dict[tuple[str, int], str] = {}
        self.awaited: set[tuple[str, int]] = set()
        self.output: list[Any] = []
        self.published: list[Any] = []
        self.submitted: list[JobRequest] = []
        self.used: list[UsageReport] = []
        self.groups = _Groups(self.submitted)
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
        return "true" if (name, number) in self.groups.signals else self.signals.get((name, number))

    async def start_children(self, requests: Sequence[JobRequest]) -> None:
        self.groups.start(requests)

    async def child_ends(self, lease: Lease, group: str, size: int) -> list[ChildEnd | None]:
        del lease
        return [self.groups.ends.get((group, number)) for number in range(size)]

    async def change_group(
        self, lease: Lease, change: GroupChange, group: str, ids: Sequence[tuple[int, JobId]], how: int | str
    ) -> tuple[int, list[int]]:
        del lease
        return self.groups.change(change, group, [number for number, _ in ids], how), []

    async def emit(self, lease: Lease, first: int, chunks: Sequence[str]) -> None:
        del lease, first
        self.output += map(decode, chunks)

    async def use(self, lease: Lease, first: int, reports: Sequence[UsageReport], *, reserved: int = 0) -> None:
        del lease, first
        self.used += reports
        self._spent[self._now_ms() // DAY_MS] += sum(report.cost_billionths for report in reports) - reserved

    async def charge(self, lease: Lease, number: int, cost: int) -> None:
        del lease, number
        day, of_day = divmod(self._now_ms(), DAY_MS)
        spent, amount = self._spent[day], billionths(self._budget or 0)
        if self._budget is not None and (spent >= amount or spent + cost > amount):
            raise BudgetExceededError(
                budget="under-test",
                cost=cost / BILLION,
                left=max(0, amount - spent) / BILLION,
                amount=self._budget,
                next_window_ms=DAY_MS - of_day,
            )
        self._spent[day] += cost

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


class _Groups:
    """What a queue would keep of the job's groups of children."""

    def __init__(self, submitted: list[JobRequest]) -> None:
        self.ends: dict[tuple[str, int], ChildEnd] = {}  # by group and number
        self.signals: set[tuple[str, int]] = set()  # runs that have ended
        self._submitted = submitted
        self._places: dict[JobId, tuple[JobRequest, GroupMember]] = {}
        self._runs: Counter[str] = Counter()

    def start(self, requests: Sequence[JobRequest]) -> None:
        for request in requests:
            member = request.started_by.member if request.started_by else None
            if request.job_id is None or member is None or request.job_id in self._places:
                continue
            self._places[request.job_id] = request, member
            self._submitted.append(request)

    def open(self) -> list[JobRequest]:
        """Return the children that have not ended."""
        places = self._places.values()
        return [request for request, member in places if (member.group, member.number) not in self.ends]

    def end(self, job_id: JobId, result: Any, error: str | None) -> None:
        _, member = self._places[job_id]
        state = JobState.SUCCEEDED if error is None else JobState.FAILED
        text = encode("result", result) if error is None else error
        self.ends.setdefault((member.group, member.number), ChildEnd(state=state, text=text))
        all_ended = self._left(member.group) == 0
        if all_ended or (member.fail_fast and error is not None):
            self.signals.add((f"~{member.group}", max(1, self._runs[member.group])))

    def change(self, change: GroupChange, group: str, numbers: Sequence[int], how: int | str) -> int:
        if isinstance(how, int):
            self._runs[group] = how
        for place in ((group, number) for number in numbers):
            end = self.ends.get(place)
            if change is GroupChange.STOP and end is None:
                self.ends[place] = ChildEnd(state=JobState.CANCELLED, text=str(how))
            elif change is GroupChange.CLEAR and end is not None and end.state is not JobState.SUCCEEDED:
                del self.ends[place]
        return self._left(group)

    def _left(self, group: str) -> int:
        places = [member for _, member in self._places.values() if member.group == group]
        return sum((member.group, member.number) not in self.ends for member in places)


__all__ = ("JobUnderTest",)
