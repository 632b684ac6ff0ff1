"""Run a kubeconfig's exec plugin under a time limit.

The loader of the `kubernetes` package starts the plugin with asyncio and has no limit of its own: a loader that is
cancelled leaves the plugin running. So the loader runs on an event loop that knows its processes and ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

EXIT_POLL_SECONDS = 0.01  # between looks whether a killed process has ended

if sys.platform == "win32":
    _Loop = asyncio.ProactorEventLoop
else:
    _Loop = asyncio.SelectorEventLoop


async def run_limited(load: Callable[[], Awaitable[T]], *, seconds: float) -> T:
    """Await `load()` on a loop in a thread of its own; neither loop nor process outlives the call.

    Raises TimeoutError after `seconds`, and the errors of `load`.
    """
    loop = _PluginLoop()
    # Not the task of `to_thread`, which a cancel reaches: a thread that never starts would not close the loop.
    thread = asyncio.get_running_loop().run_in_executor(None, loop.run_limited, load, seconds)
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(loop.cancel)  # which ends the thread
        await _wait_for_end(thread)
        raise


async def _wait_for_end(thread: asyncio.Future[Any]) -> None:
    """Return after the end, however often the caller is cancelled meanwhile."""
    while not thread.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([thread])
    thread.exception()  # asyncio logs an exception that was never retrieved


class _PluginLoop(_Loop):
    """An event loop that can end its processes."""

    def __init__(self) -> None:
        super().__init__()
        self._processes: list[asyncio.SubprocessTransport] = []
        self._loading: asyncio.Task[Any] | None = None
        self._cancelled = False

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        """Start a process and remember it."""
        transport, protocol = await super().subprocess_exec(*args, **options)
        self._processes.append(transport)
        return transport, protocol

    def run_limited(self, load: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Run `load()`, end all processes and close the loop. Raises TimeoutError after `seconds`."""
        with asyncio.Runner(loop_factory=lambda: self) as runner:
            return runner.run(self._limited(load, seconds))

    def cancel(self) -> None:
        """Cancel the present or next `run_limited`; also while a process is being started."""
        self._cancelled = True
        if self._loading is not None:
            self._loading.cancel()

    async def _limited(self, load: Callable[[], Awaitable[T]], seconds: float) -> T:
        self._loading = asyncio.current_task()
        if self._cancelled:
            raise asyncio.CancelledError
        try:
            async with asyncio.timeout(seconds):
                return await load()
        finally:
            self._loading = None  # the end of the processes is not cancelled
            await self._end_processes()

    async def _end_processes(self) -> None:
        """Kill the processes that still run, close their pipes, and return after their ends."""
        for transport in self._processes:
            transport.close()
        while any(transport.get_returncode() is None for transport in self._processes):  # noqa: ASYNC110 - no event
            await asyncio.sleep(EXIT_POLL_SECONDS)
