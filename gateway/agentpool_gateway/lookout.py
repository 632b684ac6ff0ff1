"""A pool's queue as it is, read once for all who ask at the same time.

Whoever asks while a reading is under way waits for the next one, which begins after the question and so includes what
the caller has just done. A thousand submits at once cost two readings or three, not a thousand.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agentpool.jobs import PoolRef

if TYPE_CHECKING:
    from agentpool.queue.inspect import Inspector
    from agentpool.queue.snapshots import QueueSnapshot


class Lookout:
    """Readings of one pool."""

    def __init__(self, inspector: Inspector, pool: PoolRef) -> None:
        self._inspector = inspector
        self._pool = pool
        self._reading: asyncio.Task[QueueSnapshot] | None = None  # under way
        self._next: asyncio.Task[QueueSnapshot] | None = None  # begins when that one has ended

    async def snapshot(self) -> QueueSnapshot:
        """The queue, not older than this call. Raises UnknownPoolError, or QueueError where it cannot be read."""
        if self._next is None:
            self._next = asyncio.create_task(self._read_after(self._reading))
        return await asyncio.shield(self._next)

    async def _read_after(self, before: asyncio.Task[QueueSnapshot] | None) -> QueueSnapshot:
        if before is not None:
            await asyncio.wait([before])
        self._reading, self._next = self._next, None
        return await self._inspector.snapshot(self._pool)
