"""saq: lists with a blocking pop, 100 jobs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saq import Queue, Worker

from bench.peers import Jobs, in_turns

if TYPE_CHECKING:
    from collections.abc import Sequence


class Peer:
    """A queue and its functions."""

    def __init__(self, url: str, jobs: Jobs) -> None:
        self._queue = Queue.from_url(f"{url}?max_connections=1000")  # at redis-py's default of 100 some jobs fail

        async def noop(_ctx: Any, *, number: int) -> None:  # noqa: ARG001  # saq passes by name
            await jobs.noop()

        async def sleep(_ctx: Any, *, number: int) -> None:
            await jobs.sleep(number)

        async def stamp(_ctx: Any, *, number: int) -> None:
            jobs.ended(number)

        self._functions = [("noop", noop), ("sleep", sleep), ("stamp", stamp)]

    async def open(self) -> None:
        """Connect."""
        await self._queue.connect()

    async def submit(self, kind: str, number: int) -> None:
        """Submit a job."""
        await self._queue.enqueue(kind, number=number)

    async def submit_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Submit a hundred at once."""
        await in_turns([lambda number=number: self._queue.enqueue(kind, number=number) for number in numbers])

    async def work(self, slots: int) -> None:
        """Work until cancelled."""
        worker: Any = Worker(self._queue, functions=self._functions, concurrency=slots)
        try:
            await worker.start()
        finally:
            await worker.stop()
