"""An event loop on a virtual clock, with machines that freeze and end at any moment.

When nothing is ready, the clock moves to the next timer at once, so a schedule of a minute takes milliseconds, and its
seed alone decides the order. Each callback belongs to the machine on which it was scheduled (a context variable); a
frozen machine's callbacks are kept, and those of a machine that has ended never run. `network` connects machines and
server.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

LOOKS_MAX = 1_000_000  # of a schedule, which has some ten thousand
_machine: contextvars.ContextVar[Machine | None] = contextvars.ContextVar("machine", default=None)


class StuckError(Exception):
    """A schedule goes on for ever, or has nothing left to do."""


class Machine:
    """A computer with a process of the product."""

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self._loop = loop
        self.name = name
        self.frozen = False
        self.ended = False
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
        if self.frozen or self.ended:
            self.call(callback, *args)
        else:
            self.context.run(callback, *args)

    def freeze(self) -> None:
        """Suspend everything here, like SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """Continue with everything that came due meanwhile."""
        self.frozen = False
        self.release()

    def end(self) -> None:
        """End without any clean-up, like SIGKILL."""
        self.ended = True

    def revive(self) -> None:
        """Let the tasks that are left here end; what came due meanwhile is dropped."""
        self._kept.clear()
        self.frozen = self.ended = False

    def keep(self, call: _Call) -> None:
        """Keep a callback that may not run now."""
        self._kept.append(call)

    def release(self) -> None:
        """Run what was kept."""
        kept, self._kept = self._kept, []
        for call in kept:
            call.run_late()


class _Call:
    """A callback on a machine."""

    __slots__ = ("args", "callback", "context", "handle", "loop", "machine")

    def __init__(self, loop, machine, callback, args, context) -> None:
        self.loop, self.machine, self.callback, self.args, self.context = loop, machine, callback, args, context
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        machine = self.machine
        if machine.frozen or machine.ended:
            machine.keep(self)
        else:
            self.callback(*self.args)

    def run_late(self) -> None:
        self.loop.call_soon(self._unless_cancelled, context=self.context)

    def _unless_cancelled(self) -> None:
        if self.handle is not None and not self.handle.cancelled():
            self.callback(*self.args)


class _Selector(selectors.SelectSelector):
    """Waits by moving the loop's clock; no socket is ever ready."""

    loop: VirtualLoop
    looks = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.looks += 1
        if timeout is None or self.looks > LOOKS_MAX:
            raise StuckError("nothing is left to do" if timeout is None else f"more than {LOOKS_MAX:,} turns")
        if timeout > 0:
            self.loop.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop of a schedule. `connect` opens the connections to the server."""

    def __init__(self) -> None:
        self.now = 0.0  # seconds since the begin of the schedule
        self.machines: list[Machine] = []
        selector = _Selector()
        selector.loop = self
        self.connect: Callable[[Callable[[], asyncio.BaseProtocol]], Coroutine[Any, Any, Any]]
        super().__init__(selector)

    @property
    def turns(self) -> int:
        """Turns of the loop so far."""
        return self._selector.looks

    def time(self) -> float:
        return self.now

    def call_soon(self, callback, *args, context=None):
        return self._on_machine(super().call_soon, callback, args, context)

    def call_at(self, when, callback, *args, context=None):
        def schedule(call, *rest, context):
            return asyncio.SelectorEventLoop.call_at(self, when, call, *rest, context=context)

        return self._on_machine(schedule, callback, args, context)

    def call_soon_threadsafe(self, callback, *args, context=None):
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor, func, *args):
        raise StuckError(f"{func} in a thread, whose order no seed decides")

    async def create_connection(self, protocol_factory, host=None, port=None, **options):
        return await self.connect(protocol_factory)

    def _on_machine(self, schedule, callback, args, context):
        context = context if context is not None else contextvars.copy_context()
        machine = context.get(_machine)
        if machine is None:
            return schedule(callback, *args, context=context)
        call = _Call(self, machine, callback, args, context)
        call.handle = schedule(call, context=context)
        return call.handle


def here() -> Machine | None:
    """Return the machine of the code that runs; None: outside of the system."""
    return _machine.get()
