"""End a background task before returning.

A single `cancel()` is not enough before Python 3.12: `asyncio.wait_for`, which redis-py uses for sending, loses a
cancellation that arrives in the turn in which its work is done (https://github.com/python/cpython/issues/81839). A
reader that returns to a blocking read then blocks, and so does its awaiter. So the task is cancelled repeatedly until
it ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

ASK_AGAIN_SECONDS = 0.05


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and return after the end. Errors of the task are not raised; a cancellation of the caller is."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=ASK_AGAIN_SECONDS)
    if not task.cancelled():
        task.exception()  # marks the exception as retrieved


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

    A task group cancels its tasks only once, which is not enough. When this call is cancelled, it returns only after
    the end of all tasks.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    cancelled = False
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        cancelled = True
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        try:
            await asyncio.wait(left, timeout=ASK_AGAIN_SECONDS)
        except asyncio.CancelledError:  # `end` asks again, and so do we
            cancelled = True
    failures = [failure for task in tasks if not task.cancelled() and (failure := task.exception()) is not None]
    if cancelled:
        raise asyncio.CancelledError
    if failures:
        raise failures[0]
