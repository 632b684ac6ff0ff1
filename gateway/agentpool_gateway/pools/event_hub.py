"""A pool's events for all listeners: a single blocking read of Redis, for any number of streams.

A listener first gets missed events, then new events. A listener that falls too far behind is disconnected, and resumes
by its last id. Reading ends with the last listener.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agentpool_core.errors import QueueError
from agentpool_core.jobs import JobEvent, JobId, PoolRef
from agentpool_core.process.cancellation import end

if TYPE_CHECKING:
    from agentpool_core.queue.inspector import Inspector

log = logging.getLogger(__name__)
START = "$"  # a position: from now on


def position_of(event_id: str) -> tuple[int, ...]:
    """Return an event's id in sortable form."""
    return tuple(int(part) for part in event_id.replace("-", ".").split("."))


class Listener:
    """A reader's queue of events; None in the queue: disconnected, or reading failed."""

    def __init__(self, backlog: int, job_id: JobId | None) -> None:
        self.events: asyncio.Queue[JobEvent | None] = asyncio.Queue()
        self.job_id = job_id  # of the events; None: of all jobs
        self._backlog = backlog

    def offer(self, event: JobEvent) -> bool:
        """Queue an event of the job; False for a reader that is too far behind."""
        if self.job_id is not None and event.job_id != self.job_id:
            return True
        if self.events.qsize() >= self._backlog:
            self.events.put_nowait(None)
            return False
        self.events.put_nowait(event)
        return True


class EventHub:
    """The listeners of a pool."""

    def __init__(self, inspector: Inspector, pool: PoolRef, *, backlog: int) -> None:
        self._inspector = inspector
        self._pool = pool
        self._backlog = backlog
        self._listeners: set[Listener] = set()
        self._reader: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()  # former readers
        self._starting = asyncio.Lock()  # two that come at once must not start two readers

    @asynccontextmanager
    async def listen(
        self, after: str = START, *, job_id: JobId | None = None
    ) -> AsyncIterator[AsyncIterator[JobEvent]]:
        """Yield the events after a position, of one job or of all, while the block runs.

        The iterator ends when the reader must resume.

        Raises UnknownPoolError, or a different QueueError if Redis cannot be read.
        """
        listener = Listener(self._backlog, job_id)
        self._listeners.add(listener)
        try:
            async with self._starting:
                if self._reader is None or self._reader.done():
                    now = f"{(await self._inspector.snapshot(self._pool)).taken_at_ms}-0"
                    self._reader = asyncio.create_task(self._read(now), name=f"events of {self._pool}")
            yield self._events(listener, after)
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                await self.close()

    async def close(self) -> None:
        """End the reading, and any that a request began to end before it was cancelled itself."""
        reader, self._reader = self._reader, None
        if reader is not None:
            self._ending.add(reader)
            reader.add_done_callback(self._ending.discard)
        for each in tuple(self._ending):
            await end(each)

    async def _events(self, listener: Listener, after: str) -> AsyncIterator[JobEvent]:
        last: tuple[int, ...] = (0,)
        if after != START:
            while missed := await self._inspector.events(self._pool, after=after):
                for event in missed:
                    if listener.job_id in {None, event.job_id}:
                        yield event
                after = missed[-1].id
            last = position_of(after)
        while (happened := await listener.events.get()) is not None:
            if (at := position_of(happened.id)) > last:
                last = at
                yield happened

    async def _read(self, after: str) -> None:
        try:
            async for event in self._inspector.follow(self._pool, after=after):
                self._listeners -= {one for one in self._listeners if not one.offer(event)}
        except QueueError:
            self._cut_off()
        except Exception as error:  # noqa: BLE001 - a server may answer anything; listeners must not wait for ever
            log.warning("the events of %s cannot be read: %s", self._pool, type(error).__name__)
            self._cut_off()

    def _cut_off(self) -> None:
        for listener in self._listeners:
            listener.events.put_nowait(None)
