"""Writes of one job that share round trips: items of one turn of the event loop, or from during a running write.

A call returns when its item is stored. Used by the journal of steps and by the stream of output.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class SharedWrites(Generic[T]):
    """A write of many items at once, shared by callers that wait for one item each."""

    def __init__(
        self, write: Callable[[list[T]], Awaitable[None]], *, gather: Callable[[int], float] = lambda _items: 0.0
    ) -> None:
        self._write = write
        self._gather = gather  # seconds in which items gather for a write, from the number of items of the last one
        self._written = 0  # items of the last write
        self._pending: list[T] = []
        self._running: asyncio.Task[None] | None = None  # the latest write that has begun
        self._next: asyncio.Task[None] | None = None  # the write that takes the pending items

    async def add(self, item: T) -> None:
        """Store an item; return when the write is confirmed. Raises the error of the write."""
        self._pending.append(item)
        if self._next is None:
            self._next = asyncio.ensure_future(self._send(self._running))
            self._next.add_done_callback(_retrieve)
        await asyncio.shield(self._next)

    async def _send(self, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None and not earlier.done():
            await asyncio.wait({earlier})
        await asyncio.sleep(self._gather(self._written))  # further items come in this turn, or in the pause
        items, self._pending = self._pending, []
        self._written = len(items)
        self._running, self._next = self._next, None
        await self._write(items)


def _retrieve(write: asyncio.Task[None]) -> None:
    """Look at the error of a write, also if every caller was cancelled: asyncio logs errors that no code has read."""
    if not write.cancelled():
        write.exception()
