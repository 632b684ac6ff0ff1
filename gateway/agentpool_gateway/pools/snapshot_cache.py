"""Snapshots of a pool's queue, shared by concurrent requests.

A request during a running read waits for the next read, which starts after the request and so includes the caller's
last change. A thousand concurrent submits cost two or three reads.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agentpool_core.jobs import PoolRef
from agentpool_core.process.cancellation import end

if TYPE_CHECKING:
    from agentpool_core.queue.inspector import Inspector
    from agentpool_core.queue.snapshots import QueueSnapshot


class SnapshotCache:
    """Snapshots of a pool."""

    def __init__(self, inspector: Inspector, pool: PoolRef) -> None:
        self._inspector = inspector
        self._pool = pool
        self._reading: asyncio.Task[QueueSnapshot] | None = None  # under way
        self._next: asyncio.Task[QueueSnapshot] | None = None  # starts after the running read

    async def snapshot(self) -> QueueSnapshot:
        """Return the queue, not older than this call. Raises UnknownPoolError, or QueueError if it cannot be read."""
        if self._next is None:
            self._next = asyncio.create_task(self._read_after(self._reading))
        return await asyncio.shield(self._next)

    async def close(self) -> None:
        """End the reads, which outlive the requests that began them."""
        for task in filter(None, (self._next, self._reading)):
            await end(task)

    async def _read_after(self, before: asyncio.Task[QueueSnapshot] | None) -> QueueSnapshot:
        if before is not None:
            await asyncio.wait([before])
        self._reading, self._next = self._next, None
        return await self._inspector.snapshot(self._pool)
