"""Running steps: from the journal if an earlier attempt has finished them, else by their function, with own retries.

The result of a step passes through JSON in the attempt that runs it too, so every attempt sees an equal value. A failed
step is stored for readers. It runs again in the next attempt, unless the program went on behind it: then it fails
again, because the program's later steps depend on that.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import InvalidJobError, StaleLeaseError
from agentpool_core.jobs import Step, StepOutcome
from agentpool_core.queue.codec.json_text import decode, encode
from agentpool_core.text import encodable, render_error, render_value
from agentpool_worker.durable.journal import Journal
from agentpool_worker.durable.order import check_place, move, place_in
from agentpool_worker.exceptions import Permanent, Retry, StepFailedError, StepNameError, StepResultError
from agentpool_worker.threads import HandlerThreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_core.jobs import Lease
    from agentpool_worker.durable.journal import StepStore

MAX_NAME_CHARS = 200
MAX_ERROR_CHARS = 2_000  # of a failed step
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
_INSIDE = "/"  # steps that a step's function runs follow this place
_PASSED = (Retry, Permanent, StaleLeaseError)  # decide on the whole job
_threads = HandlerThreads()


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
    """The steps of one attempt at a job."""

    def __init__(self, lease: Lease, store: StepStore, started_at: float) -> None:
        self.journal = Journal(lease, store)
        self.root: object = None  # the handler's task
        self._counts: Counter[str] = Counter()
        self._started_at = started_at  # time.monotonic() of the claim

    def begin(self, name: str) -> StepCall:
        """Name a step, in the caller's task. Raises StepNameError."""
        _check_name(name)
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
        await self.journal.open()
        stored = self._reach(call)
        if stored is not None and stored.outcome is StepOutcome.SUCCEEDED:
            return stored.result
        if stored is not None and self.journal.goes_on_after(call.name):
            raise StepFailedError(call.name, str(stored.result))
        started = time.monotonic()
        move(self, call.name + _INSIDE)
        try:
            result = await _with_retries(function, options)
        except _PASSED:
            raise
        except Exception as error:
            text = encodable(render_error(error))[:MAX_ERROR_CHARS]
            await self.journal.write(self._step(call, StepOutcome.FAILED, started, text))
            raise StepFailedError(call.name, text) from error
        return await self._finish(call, started, result)

    async def passed(self, name: str) -> bool:
        """Return whether an earlier attempt passed this place without the mark `name`; if not, store the mark."""
        call = StepCall(name=f"~patched:{name}", after="", sequential=False)
        after, _ = place_in(self, self.root)
        await self.journal.open()
        if self.journal.find(call.name) is not None:
            return False
        if any(step.after == after for step in self.journal.unused()):
            return True
        await self._finish(call, time.monotonic(), None)
        return False

    async def read(self, name: str) -> Step | None:
        """Return the finished step of this name, for a handler outside this process."""
        _check_name(name)
        await self.journal.open()
        step = self.journal.find(name)
        return step if step is not None and step.outcome is StepOutcome.SUCCEEDED else None

    async def write(self, name: str, result: Any) -> Any:
        """Store the result of a step that ran outside this process; return the stored result: the first one."""
        if (stored := await self.read(name)) is not None:
            return stored.result
        return await self._finish(StepCall(name=name, after="", sequential=False), time.monotonic(), result)

    def _reach(self, call: StepCall) -> Step | None:
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
        step = self._step(call, StepOutcome.SUCCEEDED, started, decode(text))
        await self.journal.write(step)
        return step.result

    def _step(self, call: StepCall, outcome: StepOutcome, started: float, result: Any) -> Step:
        lease = self.journal.lease
        return Step(
            number=self.journal.number_for(call.name),
            name=call.name,
            outcome=outcome,
            attempt=lease.attempt,
            started_at_ms=lease.claimed_at_ms + round((started - self._started_at) * 1000),
            duration_ms=round((time.monotonic() - started) * 1000),
            after=call.after,
            sequential=call.sequential,
            result=result,
        )


_pause = asyncio.sleep  # replaced by tests


async def _with_retries(function: Callable[[], Any], options: StepOptions) -> Any:
    pause = options.backoff_seconds
    for _ in range(options.retries):
        try:
            return await _once(function, options.timeout_seconds)
        except _PASSED:
            raise
        except options.retry_on:
            await _pause(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, hides nothing
            pause = min(pause * 2, _LONGEST_BACKOFF_SECONDS)
    return await _once(function, options.timeout_seconds)


async def _once(function: Callable[[], Any], timeout_seconds: float | None) -> Any:
    """Run the function: in the event loop if it is async, else in a thread."""
    async with asyncio.timeout(timeout_seconds):
        is_async = inspect.iscoroutinefunction(getattr(function, "func", function))
        result = function() if is_async else await _threads.run(function)
        while inspect.isawaitable(result):
            result = await result
        return result


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or not _is_plain(name):
        raise StepNameError(render_value(name), MAX_NAME_CHARS)


def _is_plain(name: str) -> bool:
    return name.isprintable() and "#" not in name and not name.startswith("~")
