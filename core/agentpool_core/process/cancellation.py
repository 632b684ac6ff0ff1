"""End a background task before returning.

A single `cancel()` is not enough before Python 3.12: `asyncio.wait_for`, which redis-py uses for sending, loses a
cancellation that arrives in the turn in which its work is done (https://github.com/python/cpython/issues/81839). A
reader that returns to a blocking read then blocks, and so does its awaiter. So the task is cancelled repeatedly until
it ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

T = TypeVar("T")
ASK_AGAIN_SECONDS = 0.05


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and return after the end. Errors of the task are not raised; a cancellation of the caller is."""
    task.add_done_callback(_mark_retrieved)  # also if the caller is cancelled first
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=ASK_AGAIN_SECONDS)
    _mark_retrieved(task)


def _mark_retrieved(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


def raise_lost() -> None:
    """Raise CancelledError if this task was asked to cancel and the cancellation was lost on its way.

    For loops that try again without limit: a lost cancellation, such as that of an expired timeout, would leave them
    running for ever. Call it before a retry only: a task may swallow a cancellation on purpose and go on.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def run_until_first_end(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until the first end or failure, then end the rest; raise the first failure.

    When this call is cancelled, it returns only after the end of all tasks.
    """
    await _run(works, until=asyncio.FIRST_COMPLETED)


async def results_of(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at the same time and return the results; after the first failure end the rest, then raise the failure.

    Unlike `asyncio.gather`, which leaves the rest running: a call on its way would connect a client that was closed.
    """
    return [task.result() for task in await _run(works, until=asyncio.FIRST_EXCEPTION)]


async def _run(works: Iterable[Coroutine[Any, Any, T]], *, until: str) -> list[asyncio.Task[T]]:
    """Run all until then, end the rest, and raise the first failure. A task group cancels only once: not enough."""
    tasks = [asyncio.ensure_future(work) for work in works]
    if not tasks:
        return tasks
    cancelled = False
    try:
        await asyncio.wait(tasks, return_when=until)
    except asyncio.CancelledError:
        cancelled = True
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        try:
            await asyncio.wait(left, timeout=ASK_AGAIN_SECONDS)
        except asyncio.CancelledError:  # `end` cancels again, and so does this loop
            cancelled = True
    failures = [failure for task in tasks if not task.cancelled() and (failure := task.exception()) is not None]
    if cancelled:
        raise asyncio.CancelledError
    if failures:
        raise failures[0]
    return tasks
