"""An event loop on a virtual clock, with machines that freeze and end at any moment.

When nothing is ready, the clock moves to the next timer at once, so a schedule of a minute takes milliseconds, and its
seed alone decides the order. Each callback belongs to the machine on which it was scheduled (a context variable); a
frozen machine's callbacks are kept, and those of a machine that has ended never run. `network` connects machines and
server.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any

TURNS_MAX = 1_000_000  # of a schedule, which has some ten thousand
_machine: contextvars.ContextVar[Machine | None] = contextvars.ContextVar("machine", default=None)


class StuckError(Exception):
    """A schedule goes on for ever, or has nothing left to do."""


class Machine:
    """A computer with a process of the product."""

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self._loop = loop
        self.name = name
        self.stands = False  # its callbacks may not run
        self._ended = False
        self._kept: list[_Call] = []
        self.context = contextvars.copy_context()  # of what happens on the machine
        self.context.run(_machine.set, self)
        loop.machines.append(self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a program here."""
        return self.context.run(self._loop.create_task, work)

    def call(self, callback: Callable[..., object], *args: Any) -> None:
        """Call a function here."""
        self._loop.call_soon(callback, *args, context=self.context)

    def run(self, callback: Callable[..., object], *args: Any) -> None:
        """Call a function here at once, unless the machine stands still."""
        if self.stands:
            self.call(callback, *args)
        else:
            self.context.run(callback, *args)

    def freeze(self) -> None:
        """Suspend everything here, like SIGSTOP."""
        self.stands = True

    def thaw(self) -> None:
        """Continue with everything that came due meanwhile."""
        if self._ended:
            return
        self.stands = False
        kept, self._kept = self._kept, []
        self._loop.resume(kept)

    def end(self) -> None:
        """End without any clean-up, like SIGKILL."""
        self.stands = self._ended = True

    def revive(self) -> None:
        """Let the tasks that are left here end: those that were woken meanwhile must wake first."""
        self._ended = False
        self.thaw()

    def keep(self, call: _Call) -> None:
        """Keep a callback that may not run now."""
        self._kept.append(call)


class _Call(asyncio.Handle):
    """A callback, and the machine on which it was scheduled.

    asyncio's own handle asks the loop for its mode whenever it is made, which is thousands of times in a schedule.
    """

    __slots__ = ("at", "machine")

    def __init__(self, loop, callback, args, context, at=0.0) -> None:
        self._loop, self._callback, self._args = loop, callback, args
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled, self._repr, self._source_traceback = False, None, None
        self.machine = self._context.get(_machine)
        self.at = at

    def when(self) -> float:
        """Return the time of a timer, as asyncio's does."""
        return self.at


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop of a schedule. `connect` opens the connections to the server."""

    def __init__(self) -> None:
        self.now = 0.0  # seconds since the begin of the schedule
        self.turns = 0  # of the loop so far
        self.machines: list[Machine] = []
        self.connect: Callable[[Callable[[], asyncio.BaseProtocol]], Coroutine[Any, Any, Any]]
        super().__init__()
        self._ready: deque[_Call] = deque()
        self._timers: list[tuple[float, int, _Call]] = []  # a heap; equal times in the order of their scheduling
        self._timers_made = 0

    def time(self) -> float:
        return self.now

    def call_soon(self, callback, *args, context=None):
        call = _Call(self, callback, args, context)
        self._ready.append(call)
        return call

    call_soon_threadsafe = call_soon

    def call_at(self, when, callback, *args, context=None):
        call = _Call(self, callback, args, context, when)
        self._timers_made += 1
        heappush(self._timers, (when, self._timers_made, call))
        return call

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.now + delay, callback, *args, context=context)

    def resume(self, calls: list[_Call]) -> None:
        """Run callbacks that a machine has kept."""
        self._ready.extend(calls)

    def run_in_executor(self, executor, func, *args):
        raise StuckError(f"{func} in a thread, whose order no seed decides")

    async def create_connection(self, protocol_factory, host=None, port=None, **options):
        return await self.connect(protocol_factory)

    def _run_once(self) -> None:
        """Run what is ready; move the clock to the next timer if nothing is."""
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise StuckError(f"more than {TURNS_MAX:,} turns")
        ready, timers = self._ready, self._timers
        while timers and (timers[0][2].cancelled() or timers[0][0] <= self.now or not ready):
            at, _, call = heappop(timers)
            if not call.cancelled():
                self.now = max(self.now, at)
                ready.append(call)
        if not ready:
            raise StuckError("nothing is left to do")
        for _ in range(len(ready)):
            call = ready.popleft()
            if call.cancelled():
                continue
            if call.machine is not None and call.machine.stands:
                call.machine.keep(call)
            else:
                call._run()  # asyncio's own loop does the same


def here() -> Machine | None:
    """Return the machine of the code that runs; None: outside of the system."""
    return _machine.get()
