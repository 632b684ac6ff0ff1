"""Waiting for a time or a signal without a slot: the attempt ends, and a later attempt goes on behind the wait.

A wait is a step of the journal. Its record names the awaited signal and the end of the wait before the slot is
released, so that a wait of hours keeps its end over any number of attempts. A short rest of a wait keeps the coroutine.
The slot is released when no step of the job runs any more; `suspend` then ends the attempt as `Waiting`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from agentpool_core.jobs import Step, StepOutcome
from agentpool_core.queue.codec.json_text import decode
from agentpool_core.queue.steps import WAIT
from agentpool_worker.durable.steps import StepCall, Steps, check_name, running_step
from agentpool_worker.exceptions import WaitRefusedError

if TYPE_CHECKING:
    from agentpool_core.jobs import Lease

LOOK_MS = 200  # between looks for a signal, in a wait that keeps its coroutine
FORGETTABLE_MS = 1_000  # a kept wait with more time left has a record: a lost worker does not begin it again
LONGEST_WAIT_MS = 366 * 24 * 3_600_000  # as for a delayed submit
_pause = asyncio.sleep  # replaced by tests


class SignalStore(Protocol):
    """How a wait reaches the signals of its job."""

    async def signal_value(self, lease: Lease, name: str, number: int) -> str | None:
        """Return the value of the signal with this number, as JSON text; None: it has not come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitRules:
    """A pool's rules for waits."""

    keep_ms: int = 1_000  # a wait with less time left keeps its coroutine and its slot
    refuse_endless: bool = False  # a wait for a signal needs a timeout


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenWait:
    """A wait that has not ended."""

    signal: str | None  # None: only for the time
    number: int  # of the signal
    until_ms: int | None  # of the pool's time; None: no limit
    begun: float  # of the clock of `Steps`, in this attempt
    question: Any = None  # to the sender of the signal


class Waits:
    """The waits of one attempt at a job."""

    def __init__(
        self, steps: Steps, signals: SignalStore, suspend: Callable[[], None], rules: WaitRules | None = None
    ) -> None:
        self._rules = rules or WaitRules()
        self._steps = steps
        self._signals = signals
        self._suspend = suspend
        self._open: dict[str, OpenWait] = {}
        self._taken: set[tuple[str | None, int]] = set()  # signals of waits that run and may have no record yet

    def begin(self, signal: str | None, limit: timedelta | float | None) -> StepCall:
        """Name a wait, in the caller's task. Raises WaitRefusedError inside a step."""
        _check_has_end(signal, limit)
        _refuse_inside_step()
        return self._steps.begin_wait(_name_of(signal))

    def begin_own(self, name: str) -> StepCall:
        """Begin a wait of ours with a name that the program chooses. Raises WaitRefusedError inside a step."""
        _refuse_inside_step()
        return self._steps.begin_own(name)

    def call_outside(self, signal: str | None, name: str, limit: timedelta | float | None) -> StepCall:
        """Return the call of a wait in a program outside this process; `name` is the wait's own name, or empty.

        Raises StepNameError, WaitRefusedError.
        """
        _check_has_end(signal, limit)
        if name:
            check_name(name)
        return StepCall(name=f"{_name_of(signal)}#{name}" if name else _name_of(signal), after="", sequential=False)

    async def run(
        self, call: StepCall, signal: str | None, limit: timedelta | float | None, question: Any = None
    ) -> Any:
        """Return the value of the signal, or None after a sleep. Raises TimeoutError for a signal that did not come.

        Does not return while the wait lasts: the attempt ends with CancelledError.
        """
        stored = await self._steps.reach(call)
        if stored is not None and stored.outcome is not StepOutcome.WAITING:
            return _value_of(stored, signal)
        if stored is None and limit is None and self._rules.refuse_endless:
            problem = (
                f"it waits for signal {signal!r} without a timeout, which spec.queue.waits.endless of the pool refuses"
            )
            raise WaitRefusedError(problem, "give timeout=, or set spec.queue.waits.endless to Accept")
        wait = self._wait_of(stored, signal, _limit_ms(limit), question)
        ended = await self._end_now(call, wait)
        if ended is None:
            await self._note(call, wait)
            await self.suspend(call.name, wait)
        return _value_of(ended, signal)

    async def wait_without_limit(self, call: StepCall, signal: str, number: int) -> None:
        """Return when a signal of ours has come; suspend the attempt before. The caller has recorded the wait."""
        if await self._signals.signal_value(self._steps.journal.lease, signal, number) is None:
            wait = OpenWait(signal=signal, number=number, until_ms=None, begun=self._steps.clock())
            await self.suspend(call.name, wait)

    async def suspend(self, name: str, wait: OpenWait) -> NoReturn:
        """End the attempt when no step runs any more; a later attempt goes on at this wait."""
        self._open[name] = wait
        await self._steps.wait_idle()
        self._suspend()
        raise asyncio.CancelledError

    def open_waits(self) -> tuple[tuple[tuple[str, int], ...], int | None]:
        """Return the awaited signals, and the ms until the first wait ends; None: no wait has a limit."""
        signals = tuple((wait.signal, wait.number) for wait in self._open.values() if wait.signal is not None)
        ends = [wait.until_ms for wait in self._open.values() if wait.until_ms is not None]
        return signals, max(0, min(ends) - self._steps.now_ms()) if ends else None

    def _wait_of(self, stored: Step | None, signal: str | None, limit_ms: int | None, question: Any) -> OpenWait:
        if stored is not None:
            number, until_ms = stored.result["number"], stored.result["until_ms"]
            question = stored.result.get("question")
        else:
            number = self._take_number(signal)
            until_ms = None if limit_ms is None else self._steps.now_ms() + limit_ms
        return OpenWait(signal=signal, number=number, until_ms=until_ms, begun=self._steps.clock(), question=question)

    def _take_number(self, signal: str | None) -> int:
        """Take the first signal of this name that no wait has taken; return its number."""
        names = (_name_of(signal), f"{_name_of(signal)}#")
        taken = {
            step.result["number"]
            for step in self._steps.journal.all()
            if (step.name == names[0] or step.name.startswith(names[1])) and step.outcome is not StepOutcome.EXPIRED
        }
        taken |= {number for name, number in self._taken if name == signal}
        number = next(number for number in range(1, len(taken) + 2) if number not in taken)
        self._taken.add((signal, number))
        return number

    async def _end_now(self, call: StepCall, wait: OpenWait) -> Step | None:
        """End the wait if its signal has come or its time is over, or is over soon; None: it lasts."""
        left_ms = math.inf if wait.until_ms is None else wait.until_ms - self._steps.now_ms()
        keeps = left_ms <= self._rules.keep_ms
        while (ended := await self._end_by_signal(call, wait)) is None and left_ms > 0:
            if not keeps:
                return None
            if left_ms > FORGETTABLE_MS:
                await self._note(call, wait)
            pause_ms = left_ms if wait.signal is None else min(left_ms, LOOK_MS)
            await _pause(pause_ms / 1000)
            left_ms -= pause_ms
        if ended is not None:
            return ended
        outcome = StepOutcome.SUCCEEDED if wait.signal is None else StepOutcome.EXPIRED
        self._taken.discard((wait.signal, wait.number))  # an expired wait leaves its signal to the next
        return await self._record(call, outcome, wait)

    async def _end_by_signal(self, call: StepCall, wait: OpenWait) -> Step | None:
        if wait.signal is None:
            return None
        text = await self._signals.signal_value(self._steps.journal.lease, wait.signal, wait.number)
        return None if text is None else await self._record(call, StepOutcome.SUCCEEDED, wait, decode(text))

    async def _note(self, call: StepCall, wait: OpenWait) -> None:
        """Record the end of the wait, once."""
        if self._steps.journal.find(call.name) is None:
            await self._record(call, StepOutcome.WAITING, wait)

    async def _record(self, call: StepCall, outcome: StepOutcome, wait: OpenWait, value: Any = None) -> Step:
        result = {"number": wait.number, "until_ms": wait.until_ms, "value": value}
        if wait.question is not None:
            result["question"] = wait.question
        stored = self._steps.journal.find(call.name)
        step = self._steps.step_of(call, outcome, wait.begun, result, begun=stored)
        await self._steps.journal.write(step)
        return step


def _check_has_end(signal: str | None, limit: timedelta | float | None) -> None:
    if signal is None and limit is None:
        raise _no_time(limit)


def _refuse_inside_step() -> None:
    if inside := running_step.get():
        problem = f"the caller is inside of step {inside!r}, which would run again after the wait"
        raise WaitRefusedError(problem, "wait between two steps")


def _name_of(signal: str | None) -> str:
    return "~sleep" if signal is None else WAIT + signal


def _value_of(step: Step, signal: str | None) -> Any:
    if step.outcome is StepOutcome.EXPIRED:
        raise TimeoutError(f"signal {signal!r} did not come within the timeout of ctx.wait_for")
    return step.result["value"]


def _limit_ms(limit: timedelta | float | None) -> int | None:
    """Return a length of time in ms. Raises WaitRefusedError for one that no clock can wait."""
    if limit is None:
        return None
    seconds: Any = limit.total_seconds() if isinstance(limit, timedelta) else limit
    if not isinstance(seconds, int | float) or not 0 <= seconds * 1000 <= LONGEST_WAIT_MS:
        raise _no_time(limit)
    return round(seconds * 1000)


def _no_time(limit: object) -> WaitRefusedError:
    return WaitRefusedError(f"{limit!r} is not a time of 0 s to 366 days", "give seconds or a timedelta")
