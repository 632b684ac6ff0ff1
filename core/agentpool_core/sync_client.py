"""`Client` for programs without an event loop: the same calls, blocking, through an event loop in a thread of its own.

`agentpool_core.client` describes each call.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from agentpool_core.client import Client, Receipt
from agentpool_core.errors import SettingError
from agentpool_core.jobs import Durability, JobId, JobState, PoolRef
from agentpool_core.queue.webhooks import OF_SUBMIT
from agentpool_core.submission import NewJob, SubmitOptions

if TYPE_CHECKING:
    from types import TracebackType

    from agentpool_core.jobs import Job, JobEvent, JobRequest, Json
    from agentpool_core.queue.chunks import Chunk
    from agentpool_core.queue.completions import CancelOutcome, SignalOutcome
    from agentpool_core.queue.schedule import Schedule
    from agentpool_core.queue.schedules import ScheduleState
    from agentpool_core.queue.selection import JobPage
    from agentpool_core.queue.selector import JobSelector
    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_core.queue.usage_totals import UsageOptions, UsageTotals

T = TypeVar("T")
_END: Any = object()  # of an iteration
_left_behind: list[asyncio.AbstractEventLoop] = []  # of a parent process, which closing would disturb


@dataclass(frozen=True, slots=True)
class SyncReceipt:
    """A submitted job, for a program without an event loop."""

    job_id: JobId
    state: JobState  # state at the submit
    duplicate: bool  # an earlier submit made this job
    queue_depth: int  # waiting jobs of the pool at the submit, including this job
    _client: SyncClient

    def result(self, *, timeout: float | None = None) -> Json:
        """As `Receipt.result`."""
        return self._client.result(self.job_id, timeout=timeout)

    def stream(self, *, after: str = "0") -> Iterator[Chunk]:
        """As `Client.stream`."""
        return self._client.stream(self.job_id, after=after)

    def signal(self, name: str, value: Json = None, *, id: str | None = None) -> SignalOutcome:  # noqa: A002
        """As `Client.signal`."""
        return self._client.signal(self.job_id, name, value, id=id)

    def cancel(self) -> CancelOutcome:
        """As `Client.cancel`."""
        return self._client.cancel(self.job_id)


class SyncClient:
    """`Client` for programs without an event loop: the same calls, blocking. Safe to share between threads.

    An event loop in a separate thread serves all calls; close the client, or use `with`. A forked process starts a
    thread and connections of its own with its first call.
    """

    def __init__(self, redis: str, *, pool: PoolRef | str, durability: Durability | str | None = None) -> None:
        given: Any = redis  # passing an async client is an easy mistake
        if not isinstance(given, str):
            raise SettingError(
                field="redis", value=given, problem="not a URL", remedy="give SyncClient a URL; its loop is its own"
            )
        self._starting = threading.Lock()
        self._start()
        try:
            self._client = self._call(_make_client(redis, pool, durability))
        except BaseException:
            self._end()
            raise
        self.pool = self._client.pool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agentpool-client", daemon=True)
        self._thread.start()

    def _survive_fork(self) -> None:
        """Start a new thread in a forked process: threads stay behind in the parent."""
        with self._starting:
            if self._process != os.getpid():
                _left_behind.append(self._loop)
                self._start()

    def close(self) -> None:
        """End the thread and its connections. Safe to call twice."""
        if self._loop.is_closed() or self._process != os.getpid():  # in a forked process that has not used it
            return
        self._call(self._client.close())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def submit(
        self,
        kind: str,
        payload: Json = None,
        *,
        durability: Durability | str | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> SyncReceipt:
        """As `Client.submit`, with the same options."""
        submitted = self._client.submit(kind, payload, durability=durability, webhook=webhook, **options)
        return self._receipt(self._call(submitted))

    def submit_many(
        self, jobs: Iterable[NewJob | JobRequest], *, durability: Durability | str | None = None
    ) -> list[SyncReceipt]:
        """As `Client.submit_many`."""
        receipts = self._call(self._client.submit_many(jobs, durability=durability))
        return [self._receipt(receipt) for receipt in receipts]

    def result(self, job_id: JobId | str, *, timeout: float | None = None) -> Json:
        """As `Client.result`."""
        return self._call(self._client.result(job_id, timeout=timeout))

    def cancel(self, job_id: JobId | str, *, reason: str = "requested", tree: bool = False) -> CancelOutcome:
        """As `Client.cancel`."""
        return self._call(self._client.cancel(job_id, reason=reason, tree=tree))

    def signal(self, job_id: JobId | str, name: str, value: Json = None, *, id: str | None = None) -> SignalOutcome:  # noqa: A002
        """As `Client.signal`."""
        return self._call(self._client.signal(job_id, name, value, id=id))

    def job(self, job_id: JobId | str) -> Job:
        """As `Client.job`."""
        return self._call(self._client.job(job_id))

    def jobs(self, state: JobState | str, *, limit: int = 100) -> list[Job]:
        """As `Client.jobs`."""
        return self._call(self._client.jobs(state, limit=limit))

    def replay(self, job_id: JobId | str, *, downstream: bool = False) -> int:
        """As `Client.replay`."""
        return self._call(self._client.replay(job_id, downstream=downstream))

    def redeliver(self, job_id: JobId | str, *, webhook: str = OF_SUBMIT) -> int:
        """As `Client.redeliver`."""
        return self._call(self._client.redeliver(job_id, webhook=webhook))

    def find(self, selector: JobSelector, *, limit: int = 100, cursor: str | None = None) -> JobPage:
        """As `Client.find`."""
        return self._call(self._client.find(selector, limit=limit, cursor=cursor))

    def count(self, selector: JobSelector) -> int:
        """As `Client.count`."""
        return self._call(self._client.count(selector))

    def cancel_selected(self, selector: JobSelector, *, reason: str = "requested") -> int:
        """As `Client.cancel_selected`."""
        return self._call(self._client.cancel_selected(selector, reason=reason))

    def replay_selected(self, selector: JobSelector) -> int:
        """As `Client.replay_selected`."""
        return self._call(self._client.replay_selected(selector))

    def purge_selected(self, selector: JobSelector) -> int:
        """As `Client.purge_selected`."""
        return self._call(self._client.purge_selected(selector))

    def schedules(self) -> list[ScheduleState]:
        """As `Client.schedules`."""
        return self._call(self._client.schedules())

    def put_schedule(self, schedule: Schedule) -> None:
        """As `Client.put_schedule`."""
        self._call(self._client.put_schedule(schedule))

    def delete_schedule(self, name: str) -> None:
        """As `Client.delete_schedule`."""
        self._call(self._client.delete_schedule(name))

    def pause_schedule(self, name: str, *, paused: bool = True) -> None:
        """As `Client.pause_schedule`."""
        self._call(self._client.pause_schedule(name, paused=paused))

    def usage(self, **query: Unpack[UsageOptions]) -> UsageTotals:
        """As `Client.usage`."""
        return self._call(self._client.usage(**query))

    def queue(self) -> QueueSnapshot:
        """As `Client.queue`."""
        return self._call(self._client.queue())

    def events(self, *, after: str = "$", job_id: JobId | str | None = None) -> Iterator[JobEvent]:
        """As `Client.events`."""
        return self._iterated(self._client.events(after=after, job_id=job_id))

    def stream(self, job_id: JobId | str, *, after: str = "0") -> Iterator[Chunk]:
        """As `Client.stream`."""
        return self._iterated(self._client.stream(job_id, after=after))

    def _iterated(self, items: AsyncIterator[T]) -> Iterator[T]:
        try:
            while (item := self._call(_next_item(items))) is not _END:
                yield item
        finally:
            self._call(_close_items(items))

    def _receipt(self, kept: Receipt) -> SyncReceipt:
        return SyncReceipt(kept.job_id, kept.state, kept.duplicate, kept.queue_depth, self)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._process != os.getpid():
            self._survive_fork()
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("this SyncClient is closed: make another one, or call it within its `with` block")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


async def _make_client(redis: str, pool: PoolRef | str, durability: Durability | str | None) -> Client:
    return Client(redis, pool=pool, durability=durability)


async def _next_item(items: AsyncIterator[T]) -> T:
    """Return the next item, or `_END`: StopAsyncIteration cannot pass through a future."""
    return await anext(items, _END)


async def _close_items(items: AsyncIterator[Any]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
