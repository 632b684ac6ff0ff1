"""The latest moment for the end of a pod: the deadline can move closer, never away."""

from __future__ import annotations

import asyncio


class Deadline:
    """No deadline at first; each `shorten` may set an earlier deadline. Times are the event loop's."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._moved = asyncio.Event()

    def shorten(self, seconds: float) -> None:
        """Bound the pod's remaining time."""
        at = asyncio.get_running_loop().time() + max(seconds, 0)
        if self._at is None or at < self._at:
            self._at = at
            self._moved.set()
            self._moved = asyncio.Event()

    def left(self) -> float | None:
        """Return the seconds left, 0 after the deadline; None without a deadline."""
        return None if self._at is None else max(self._at - asyncio.get_running_loop().time(), 0)

    async def _moved_once(self) -> int:
        await self._moved.wait()
        return 0

    async def wait_for(self, task: asyncio.Future[int]) -> bool:
        """Wait until the task is done (True) or the deadline, which may move meanwhile, has passed (False)."""
        while not task.done():
            moved = asyncio.ensure_future(self._moved_once())
            try:
                await asyncio.wait({task, moved}, timeout=self.left(), return_when=asyncio.FIRST_COMPLETED)
            finally:
                moved.cancel()
            if self.left() == 0 and not task.done():
                return False
        return True
