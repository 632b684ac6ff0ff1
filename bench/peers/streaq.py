"""streaq: streams and Lua on coredis, 100 tasks at once and 100 more prefetched."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from streaq import Worker

from bench.peers import Jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

BULK = 500  # tasks in a pipeline


class Peer:
    """A worker, which also submits, and its tasks."""

    def __init__(self, url: str, jobs: Jobs) -> None:
        logging.getLogger("streaq").setLevel(logging.ERROR)
        self._url = url
        self._jobs = jobs
        self._exits = contextlib.AsyncExitStack()
        self._worker, self._tasks = self._made(1)

    def _made(self, slots: int) -> tuple[Any, dict[str, Any]]:
        jobs = self._jobs
        worker: Any = Worker(redis_url=self._url, concurrency=slots, prefetch=slots, handle_signals=False)

        @worker.task(name="noop", ttl=0)
        async def noop(_number: int) -> None:
            await jobs.noop()

        @worker.task(name="sleep", ttl=0)
        async def sleep(number: int) -> None:
            await jobs.sleep(number)

        @worker.task(name="stamp", ttl=0)
        async def stamp(sent_ns: int) -> None:
            jobs.ended(sent_ns)

        return worker, {"noop": noop, "sleep": sleep, "stamp": stamp}

    async def open(self) -> None:
        """Connect."""
        await self._exits.enter_async_context(self._worker)

    async def submit(self, kind: str, number: int) -> None:
        """Submit a task."""
        await self._tasks[kind].enqueue(number)

    async def submit_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Submit with streaq's bulk call."""
        task = self._tasks[kind]
        for first in range(0, len(numbers), BULK):
            await self._worker.enqueue_many([task.enqueue(number) for number in numbers[first : first + BULK]])

    async def work(self, slots: int) -> None:
        """Work until cancelled."""
        worker, _ = self._made(slots)
        await worker.run_async()
