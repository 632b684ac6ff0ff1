"""The output of a pool's jobs for all readers: blocking reads of Redis that many readers share.

A reader first takes the missed chunks from the store by itself, in pages, and then joins the shared reads. A reader
that falls behind takes pages by itself again: it loses nothing, and no other reader waits for it. Reads that end
within a few hundredths of a second continue as a single read, so a busy pool costs one call for the new chunks of all
its jobs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agentpool_core.process.cancellation import end, raise_lost
from agentpool_core.queue.chunks import PAGE, Chunk, OutputEntry, longest_wait_ms, read_output
from agentpool_core.queue.codec.records import entry_order

if TYPE_CHECKING:
    from agentpool_core.jobs import JobId, PoolRef
    from agentpool_core.queue.connection.client import RedisClient

GATHER_SECONDS = 0.01  # in which jobs gather for the next read; it delays a chunk by as much
# In addition, for each followed job: a delivery costs more than its chunks, so busy jobs' come two or three at once.
GATHER_SECONDS_A_JOB = 0.0002
LONGEST_GATHER_SECONDS = 0.05
JOBS_AT_ONCE = 250  # in one read
SHARE = 16  # entries of a job in a read; a reader of a job with more takes pages by itself
BACKLOG_BYTES = 1_048_576  # that a reader may be behind, and at least a page
CHUNK_BYTES = 500  # of a chunk's objects, beside its text
SILENCE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Page:
    """Chunks of a job's output that arrived together; readers of a job share it."""

    chunks: Sequence[Chunk] = ()  # empty: a silence, or only the end of a job
    last: str  # place of the last entry
    ended: bool = False  # the last entry is the end of a job, which a replay may continue
    full: bool = False  # more entries may be stored
    size: int = 0  # bytes that the chunks take, about


class _Reader:
    """A reader that has joined the shared reads."""

    def __init__(self, job_id: JobId, place: str) -> None:
        self.job_id = job_id
        self.place = place  # of the last entry in `pages`
        self.pages: deque[Page] = deque()
        self._held = 0  # bytes of the pages
        self.behind = False  # more is stored than in `pages`
        self.error: BaseException | None = None  # of the shared read
        self._woken: asyncio.Future[None] | None = None

    def offer(self, page: Page) -> None:
        """Pass on the entries of a page that the reader does not have."""
        if entry_order(page.last) <= entry_order(self.place):
            return
        if self.pages and self._held + page.size > BACKLOG_BYTES:
            self.behind = True
        if not self.behind:
            self.pages.append(_after(page, self.place))
            self._held += self.pages[-1].size
            self.place = page.last
            self.behind = page.full
        self.wake()

    def take(self) -> Page:
        """Return the oldest page, which the reader no longer holds."""
        page = self.pages.popleft()
        self._held -= page.size
        return page

    def wake(self) -> None:
        """Let the reader look at its pages."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def wait(self) -> None:
        """Return after a page, an error, or a silence."""
        self._woken = asyncio.get_running_loop().create_future()
        timer = asyncio.get_running_loop().call_later(SILENCE_SECONDS, self.wake)
        try:
            await self._woken
        finally:
            timer.cancel()


class OutputHub:
    """The readers of a pool's output."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self._redis = redis
        self._pool = pool
        self._readers: dict[JobId, set[_Reader]] = {}
        self._places: dict[JobId, str] = {}  # after which the next shared read of a job begins
        self._reading: dict[JobId, str] = {}  # jobs of the reads under way, and the places after which these begin
        self._tasks: set[asyncio.Task[None]] = set()
        self._block_ms = longest_wait_ms(redis)
        self._gathering: asyncio.Task[None] | None = None

    async def chunks(self, job_id: JobId, place: str) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks after a place, as they come. Never ends by itself."""
        async with aclosing(self.follow(job_id, place)) as pages:
            async for page in pages:
                for chunk in page.chunks:
                    yield chunk

    async def follow(self, job_id: JobId, place: str) -> AsyncGenerator[Page, None]:
        """Yield the chunks after a place as they come, and an empty page after each silence. Never ends by itself."""
        while True:
            found = await read_output(self._redis, self._pool, {job_id: place})
            page = _page(found.get(job_id, ()), place, PAGE)
            if page.last != place:
                yield page
                place = page.last
            raise_lost()
            if page.full or not self._may_join(job_id, place):
                continue
            async with aclosing(self._shared(job_id, place)) as pages:
                async for page in pages:
                    yield page
                    place = page.last

    async def close(self) -> None:
        """End the reads."""
        for task in filter(None, (self._gathering, *self._tasks)):
            await end(task)

    def _may_join(self, job_id: JobId, place: str) -> bool:
        """Return whether the shared reads of the job contain all entries after the place."""
        begins = filter(None, (self._places.get(job_id), self._reading.get(job_id)))
        return all(entry_order(begin) <= entry_order(place) for begin in begins)

    async def _shared(self, job_id: JobId, place: str) -> AsyncGenerator[Page, None]:
        """Yield pages of the shared reads, until the reader must take pages by itself."""
        reader = _Reader(job_id, place)
        self._readers.setdefault(job_id, set()).add(reader)
        self._places.setdefault(job_id, place)
        self._gather()
        try:
            while True:
                if not reader.pages and not reader.behind and reader.error is None:
                    await reader.wait()
                if reader.error is not None:
                    raise reader.error
                if reader.pages:
                    yield reader.take()
                elif reader.behind:
                    return
                else:
                    yield Page(last=reader.place)
        finally:
            self._readers[job_id].discard(reader)
            if not self._readers[job_id]:
                del self._readers[job_id], self._places[job_id]

    def _gather(self) -> None:
        """Begin a read soon, for all jobs that no read is under way for."""
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._start(), name=f"output of {self._pool}")

    async def _start(self) -> None:
        await asyncio.sleep(gather_seconds(len(self._places)))
        self._gathering = None
        jobs = [job for job in self._places if job not in self._reading]
        for begin in range(0, len(jobs), JOBS_AT_ONCE):
            places = {job: self._places[job] for job in jobs[begin : begin + JOBS_AT_ONCE]}
            self._reading |= places
            task = asyncio.create_task(self._read(places), name=f"output of {self._pool}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read(self, places: Mapping[JobId, str]) -> None:
        try:
            found = await read_output(self._redis, self._pool, places, count=SHARE, block_ms=self._block_ms)
        except Exception as error:  # noqa: BLE001 - the readers raise it
            self._fail(places, error)
            return
        finally:
            for job_id in places:
                del self._reading[job_id]
        for job_id, entries in found.items():
            if job_id in self._readers:
                page = _page(entries, places[job_id], SHARE)
                self._places[job_id] = max(self._places[job_id], page.last, key=entry_order)
                for reader in self._readers[job_id]:
                    reader.offer(page)
        self._gather()

    def _fail(self, jobs: Iterable[JobId], error: Exception) -> None:
        for reader in [reader for job in jobs for reader in self._readers.get(job, ())]:
            reader.error = error
            reader.wake()


def gather_seconds(jobs: int) -> float:
    """Return for how long that many followed jobs gather for their next read."""
    return min(GATHER_SECONDS + jobs * GATHER_SECONDS_A_JOB, LONGEST_GATHER_SECONDS)


def _page(entries: Sequence[OutputEntry], place: str, count: int) -> Page:
    return Page(
        chunks=[entry.chunk for entry in entries if entry.chunk is not None],
        last=entries[-1].place if entries else place,
        ended=bool(entries) and entries[-1].ended,
        full=len(entries) >= count,
        size=sum(entry.size + CHUNK_BYTES for entry in entries),
    )


def _after(page: Page, place: str) -> Page:
    """Return the part of a page after a place: the page itself, unless the reader has a part of it."""
    if not page.chunks or entry_order(page.chunks[0].id) > entry_order(place):
        return page
    later = [chunk for chunk in page.chunks if entry_order(chunk.id) > entry_order(place)]
    return replace(page, chunks=later)
