"""Threads for sync handlers: as many as run at once, reused, and unable to delay the worker's exit.

A thread cannot be killed, so a thread that hangs past its job's timeout is abandoned and replaced for the next job. The
threads are daemons for the same reason: the standard library's executor joins its threads at exit, and a single hanging
handler would keep a drained worker alive. The slots bound their number; here there is no bound.
`agentpool_worker.handlers.app` runs sync handlers here.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import os
import queue
import threading
from typing import TYPE_CHECKING, Any

from agentpool_worker.guards.fitness import own_work
from agentpool_worker.guards.forks import CLONE_EXIT_CODE

if TYPE_CHECKING:
    from collections.abc import Callable

_IDLE_SECONDS = 30.0  # idle time before a thread ends

_Work = tuple[contextvars.Context, "Callable[[], Any]", "asyncio.Future[Any]"]


class HandlerThreads:
    """Runs calls in daemon threads and awaits their results."""

    def __init__(self) -> None:
        self._idle: list[queue.SimpleQueue[_Work]] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    async def run(self, call: Callable[[], Any]) -> Any:
        """Return the call's result. When cancelled, the caller continues at once and the thread ends with the call."""
        future = asyncio.get_running_loop().create_future()
        work = (contextvars.copy_context(), call, future)
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = queue.SimpleQueue()
            name = f"handler-{next(self._numbers)}"
            with own_work("start a thread"):
                threading.Thread(target=self._serve, args=(inbox,), name=name, daemon=True).start()
        inbox.put(work)
        return await future

    def _serve(self, inbox: queue.SimpleQueue[_Work]) -> None:
        while True:
            try:
                context, call, future = inbox.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                continue  # a job was handed over in the same moment
            worker = os.getpid()
            outcome = _outcome(context, call)
            if os.getpid() != worker:  # a forked child of the handler that returned
                os._exit(CLONE_EXIT_CODE)
            _answer(future, *outcome)
            del context, call, future, outcome  # an idle thread holds nothing of the last job
            with self._lock:
                self._idle.append(inbox)


def _outcome(context: contextvars.Context, call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return context.run(call), None
    except StopIteration as error:
        # A future refuses StopIteration, which would end the awaiting coroutine instead of failing it.
        wrapped = RuntimeError("the handler raised StopIteration")
        wrapped.__cause__ = error
        return None, wrapped
    except BaseException as error:  # noqa: BLE001 - SystemExit too is the job's end, not the thread's
        return None, error


def _answer(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    def settle() -> None:
        if future.done():  # the job was given up meanwhile
            if inspect.iscoroutine(result):
                result.close()
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    try:
        future.get_loop().call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed: the worker has left, and the lease with it
        return
