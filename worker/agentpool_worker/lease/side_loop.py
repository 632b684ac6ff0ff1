"""A second event loop, in its own thread, for work that must continue while a handler blocks the jobs' loop.

The heartbeat, the watchdog, the queue's maintenance and the probes live here: no busy or blocked handler can starve
them. They reach the jobs' loop only through `call_soon_threadsafe`. `agentpool_worker.wiring` names the
services, `agentpool_worker.worker` starts and stops the loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

from agentpool_core.process.cancellation import end

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

log = logging.getLogger(__name__)


class SideLoop:
    """Runs services until stopped. A service ends when cancelled; a failure is reported by `failed`."""

    def __init__(self, services: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        self._services = services
        self._thread = threading.Thread(target=self._main, name="agentpool-side", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving: asyncio.Event | None = None
        self._ready = threading.Event()
        self._main_loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._main_loop.create_future()  # holds the error of a failed service
        self.ended: asyncio.Future[None] = self._main_loop.create_future()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def ask(self, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `call` in the side loop and return after the end; return at once if that loop does not run."""
        if self._loop is not None and not self._loop.is_closed():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self._loop))

    async def stop(self) -> None:
        """Cancel the services and wait until they have ended."""
        if not self._thread.ident:
            return
        self._ready.wait()
        if self._loop is not None and self._leaving is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leaving.set)
        await self.ended
        if self.failed.done() and not self.failed.cancelled():
            self.failed.exception()  # seen

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        finally:
            self._call_main_loop(_finish, self.ended, None)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leaving = asyncio.Event()
        self._ready.set()
        tasks = [asyncio.create_task(service()) for service in self._services]
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            pending: set[asyncio.Task[Any]] = {leaving, *tasks}
            while not leaving.done() and pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if task is not leaving and (error := task.exception()) is not None:
                        self._call_main_loop(_finish, self.failed, error)
        finally:
            await asyncio.gather(*(end(task) for task in (leaving, *tasks)))

    def _call_main_loop(self, call: Callable[..., None], *args: Any) -> None:
        try:
            self._main_loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the jobs' loop is closed: no receiver is left
            log.debug("the jobs' event loop has ended first")


def _finish(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
