"""Running steps: from the journal if an earlier attempt has finished them, else by their function, with own retries.

The result of a step passes through JSON in the attempt that runs it too, so every attempt sees an equal value. A failed
step is stored for readers. It runs again in the next attempt, unless the program went on behind it: then it fails
again, because the program's later steps depend on that.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import random
import time
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import BudgetExceededError, InvalidJobError, StaleLeaseError
from agentpool_core.jobs import Step, StepOutcome
from agentpool_core.queue.codec.json_text import decode, encode
from agentpool_core.text import encodable, render_error, render_value
from agentpool_worker.durable.journal import Journal
from agentpool_worker.durable.order import SharedNames, check_place, is_branch, move, place_in
from agentpool_worker.exceptions import (
    Permanent,
    Retry,
    StepFailedError,
    StepFunctionError,
    StepNameError,
    StepNestedError,
    StepResultError,
)
from agentpool_worker.spans import step_span
from agentpool_worker.threads import HandlerThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from agentpool_core.jobs import Lease
    from agentpool_worker.durable.journal import StepStore

MAX_NAME_CHARS = 200
MAX_ERROR_CHARS = 2_000  # of a failed step
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
_INSIDE = "/"  # steps that a step's function runs follow this place
_NOWHERE = "~"  # a mark has no place
_PASSED = (Retry, Permanent, StaleLeaseError, BudgetExceededError)  # decide on the whole job
_TURNS = 10  # of the event loop, in which a program may begin its next step
_threads = HandlerThreads()
running_step: ContextVar[str] = ContextVar("running_step", default="")  # that the caller is inside of


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOptions:
    """Options of a step: its own retries within an attempt of the job."""

    retries: int = 0  # further tries after an error; the job's own attempts come on top
    backoff_seconds: float = _FIRST_BACKOFF_SECONDS  # before the first retry; doubles up to a minute, with jitter
    timeout_seconds: float | None = None  # longest run of a try; then TimeoutError
    retry_on: tuple[type[Exception], ...] = (Exception,)  # errors worth a retry


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCall:
    """A call of a step: its name in the job, and its place in the program."""

    name: str
    after: str
    sequential: bool


class Steps:
    """The steps of one attempt at a job. Made in the event loop."""

    def __init__(self, lease: Lease, store: StepStore, started_at: float) -> None:
        self.journal = Journal(lease, store)
        self.root: object = None  # the handler's task
        self.clock: Callable[[], float] = time.monotonic  # seconds; the test kit has a clock of its own
        self.agents: set[str] = set()  # names of agents that run
        self.closed: set[str] = set()  # steps that `record` their parts, and admit no steps of the program
        self._counts: Counter[str] = Counter()
        self._shared = SharedNames()
        self._started_at = started_at  # `clock` at the claim
        self._active = 0  # steps that run
        self._begun_outside: dict[str, float] = {}  # steps of a program outside: `clock` at the first look
        self._failed_outside: Counter[str] = Counter()  # tries of these in this attempt
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self, name: str) -> StepCall:
        """Name a step, in the caller's task. Raises StepBranchError, StepNameError, StepNestedError."""
        check_name(name)
        if (inside := running_step.get()) in self.closed:
            raise StepNestedError(name, inside)
        self.share(name)
        return self.begin_own(name)

    def share(self, name: str) -> None:
        """Use a name that further branches may use, in the caller's task. Raises StepBranchError."""
        self._shared.use(name, self, self.root)

    def begin_wait(self, name: str) -> StepCall:
        """Name a wait, in the caller's task: in a branch by its place, because branches reach waits in any order."""
        after, _ = place_in(self, self.root)
        if not is_branch(self.root):
            return self.begin_own(name)
        before = self.journal.find(after)
        return self.begin_own(f"{name}#at-{before.number if before else 0}")

    def begin_own(self, name: str) -> StepCall:
        """Name a step of ours, in the caller's task, by the order of the calls."""
        self._counts[name] += 1
        count = self._counts[name]
        after, sequential = place_in(self, self.root)
        return StepCall(name=name if count == 1 else f"{name}#{count}", after=after, sequential=sequential)

    def end(self, call: StepCall) -> None:
        """Continue behind the step, in the caller's task."""
        move(self, call.name)

    async def run(self, call: StepCall, function: Callable[[], Any], options: StepOptions) -> Any:
        """Return the result of the step from the store, or run it and store its result.

        Raises StepFailedError, StepOrderError, StepResultError; Retry, Permanent and StaleLeaseError of the function
        pass through.
        """
        stored = await self.reach(call)
        if stored is not None and stored.outcome is StepOutcome.SUCCEEDED:
            return stored.result
        if stored is not None and self.journal.goes_on_after(call.name):
            raise StepFailedError(call.name, str(stored.result))
        started = self.clock()
        move(self, call.name + _INSIDE)
        with self._activity(call.name):
            try:
                with step_span(call.name, self.journal.lease.attempt):
                    result = await _with_retries(function, options)
            except _PASSED:
                raise
            except Exception as error:
                text = encodable(render_error(error))[:MAX_ERROR_CHARS]
                await self.journal.write(self.step_of(call, StepOutcome.FAILED, started, text))
                raise StepFailedError(call.name, text) from error
            return await self._finish(call, started, result)

    async def wait_idle(self) -> None:
        """Return when no step runs, and none begins in the next turns of the event loop."""
        while True:
            await self._idle.wait()
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            if self._idle.is_set():
                return

    @contextlib.contextmanager
    def _activity(self, name: str) -> Iterator[None]:
        outer = running_step.set(name)
        self._active += 1
        self._idle.clear()
        try:
            yield
        finally:
            running_step.reset(outer)
            self._active -= 1
            if not self._active:
                self._idle.set()

    async def passed(self, name: str) -> bool:
        """Return whether an earlier attempt passed this place without the mark `name`; if not, store the mark."""
        check_name(name)
        call = StepCall(name=f"~patched:{name}", after=_NOWHERE, sequential=False)
        after, _ = place_in(self, self.root)
        await self.journal.open()
        if self.journal.find(call.name) is not None:
            return False
        if any(step.after == after for step in self.journal.unused()):
            return True
        await self._finish(call, self.clock(), None)
        return False

    async def read(self, name: str) -> Step | None:
        """Return the finished step of this name, for a handler outside this process."""
        check_name(name)
        await self.journal.open()
        step = self.journal.find(name)
        if step is not None and step.outcome is StepOutcome.SUCCEEDED:
            return step
        self._begun_outside.setdefault(name, self.clock())
        return None

    async def write(self, name: str, result: Any) -> Any:
        """Store the result of a step that ran outside this process; return the stored result: the first one."""
        if (stored := await self.read(name)) is not None:
            return stored.result
        started = self._begun_outside.pop(name, self.clock())
        return await self._finish(StepCall(name=name, after="", sequential=False), started, result)

    async def fail(self, name: str, error: str, *, retries: int, backoff_seconds: float) -> bool:
        """Note a failed try of a step outside this process; return whether a retry is left, after its backoff.

        Without one the failed step is stored for readers; it may still be written.
        """
        if await self.read(name) is not None:
            return True  # a different try has stored the result
        self._failed_outside[name] += 1
        tries = self._failed_outside[name]
        if tries <= retries:
            await _pause(_backoff_s(backoff_seconds, tries))
            return True
        started = self._begun_outside.pop(name, self.clock())
        call = StepCall(name=name, after="", sequential=False)
        await self.journal.write(self.step_of(call, StepOutcome.FAILED, started, encodable(error)[:MAX_ERROR_CHARS]))
        return False

    async def record(self, name: str, started: float, result: Any) -> None:
        """Store a step of ours that is a part of the caller's step, in place of an earlier result of the same name."""
        await self._finish(StepCall(name=name, after=running_step.get() + _INSIDE, sequential=False), started, result)

    async def reach(self, call: StepCall) -> Step | None:
        """Return the stored step of this call. Raises StepOrderError for a call at a different place than before."""
        await self.journal.open()
        stored = self.journal.find(call.name)
        self.journal.mark_used(call.name)
        unused = self.journal.unused()
        check_place(call.name, call.after, sequential=call.sequential, stored=stored, unused=unused)
        return stored

    async def _finish(self, call: StepCall, started: float, result: Any) -> Any:
        try:
            text = encode("result", result)
        except InvalidJobError as error:
            raise StepResultError(call.name, error.detail, error.remedy) from error
        step = self.step_of(call, StepOutcome.SUCCEEDED, started, decode(text))
        await self.journal.write(step)
        return step.result

    def now_ms(self, moment: float | None = None) -> int:
        """Return a moment of `clock` in this attempt, or the present, in ms of the pool's time."""
        moment = self.clock() if moment is None else moment
        return self.journal.lease.leased_at_ms + round((moment - self._started_at) * 1000)

    def step_of(
        self, call: StepCall, outcome: StepOutcome, started: float, result: Any, *, begun: Step | None = None
    ) -> Step:
        """Return the record of a step that ends now. `begun`: its record from an earlier attempt, with its start."""
        started_at_ms = self.now_ms(started) if begun is None else begun.started_at_ms
        return Step(
            number=self.journal.number_for(call.name),
            name=call.name,
            outcome=outcome,
            attempt=self.journal.lease.attempt,
            started_at_ms=started_at_ms,
            duration_ms=max(0, self.now_ms() - started_at_ms),
            after=call.after,
            sequential=call.sequential,
            result=result,
        )


_pause = asyncio.sleep  # replaced by tests


async def _with_retries(function: Callable[[], Any], options: StepOptions) -> Any:
    for number in range(1, options.retries + 1):
        try:
            return await run_once(function, options.timeout_seconds)
        except _PASSED:
            raise
        except options.retry_on:
            await _pause(_backoff_s(options.backoff_seconds, number))
    return await run_once(function, options.timeout_seconds)


def _backoff_s(first_s: float, number: int) -> float:
    """Return the pause before a retry, from 1: the first pause doubles up to a minute, with jitter."""
    full = first_s if number == 1 else min(first_s * 2 ** min(number - 1, 40), _LONGEST_BACKOFF_SECONDS)
    return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, hides nothing


def bound(name: str, function: Any, args: Iterable[Any], keywords: Mapping[str, Any]) -> Callable[[], Any]:
    """Return the function of a step with its arguments. Raises StepFunctionError."""
    if callable(function):
        return functools.partial(function, *args, **keywords)
    text = render_value(function)
    if inspect.iscoroutine(function):
        function.close()
    raise StepFunctionError(name, text)


async def run_once(function: Callable[[], Any], timeout_seconds: float | None = None) -> Any:
    """Run the function: in the event loop if it is async, else in a thread."""
    async with asyncio.timeout(timeout_seconds):
        is_async = inspect.iscoroutinefunction(getattr(function, "func", function))
        result = function() if is_async else await _threads.run(function)
        while inspect.isawaitable(result):
            result = await result
        return result


def check_name(name: Any) -> None:
    """Raise StepNameError for a text that names no step."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or not _is_plain(name):
        raise StepNameError(render_value(name), MAX_NAME_CHARS)


def _is_plain(name: str) -> bool:
    return name.isprintable() and "#" not in name and not name.startswith("~")
