"""Ending a background task so that it is over when the call returns.

One `cancel()` is not enough before Python 3.12: `asyncio.wait_for`, through which redis-py sends, loses a cancellation
that arrives in the very turn in which its work is done (https://github.com/python/cpython/issues/81839). A reader that
goes straight back into a blocking read then blocks on, and who awaits it too. So it is asked again until it ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

ASK_AGAIN_S = 0.05


async def end(task: asyncio.Task[Any]) -> None:
    """Cancels a task and returns once it is over. What it raised is not raised here; a caller's own cancel is."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=ASK_AGAIN_S)
    if not task.cancelled():
        task.exception()  # marks it as seen


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Runs all until one ends or fails, then ends the others; raises what failed, the first where several did.

    A task group cancels its tasks once, which is not enough, and cannot be asked again. When this call is cancelled,
    it is over only when all of them are.
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
            await asyncio.wait(left, timeout=ASK_AGAIN_S)
        except asyncio.CancelledError:  # `end` asks again, and so do we
            cancelled = True
    failures = [failure for task in tasks if not task.cancelled() and (failure := task.exception()) is not None]
    if cancelled:
        raise asyncio.CancelledError
    if failures:
        raise failures[0]
