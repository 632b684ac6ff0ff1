"""Ending a background task so that it is over when the call returns.

One `cancel()` is not enough before Python 3.12: `asyncio.wait_for`, through which redis-py sends, loses a cancellation
that arrives in the very turn in which its work is done (https://github.com/python/cpython/issues/81839). A reader that
goes straight back into a blocking read then blocks on, and who awaits it too. So it is asked again until it ends.
"""

from __future__ import annotations

import asyncio
from typing import Any

ASK_AGAIN_S = 0.05


async def end(task: asyncio.Task[Any]) -> None:
    """Cancels a task and returns once it is over. What it raised is not raised here; a caller's own cancel is."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=ASK_AGAIN_S)
    if not task.cancelled():
        task.exception()  # marks it as seen
