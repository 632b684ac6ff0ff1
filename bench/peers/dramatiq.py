"""dramatiq: Lua over lists, threads; at most 8, the default, except for jobs that wait."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers import Jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

THREADS = 8


class Peer:
    """A broker and its actors."""

    def __init__(self, url: str, jobs: Jobs) -> None:
        logging.getLogger("dramatiq").setLevel(logging.ERROR)
        self._broker = RedisBroker(url=url)
        dramatiq.set_broker(self._broker)
        noop = dramatiq.actor(lambda _number: jobs.ended(), actor_name="noop")
        sleep = dramatiq.actor(jobs.sleep_blocking, actor_name="sleep")
        stamp = dramatiq.actor(jobs.ended, actor_name="stamp")
        self._actors = {"noop": noop, "sleep": sleep, "stamp": stamp}

    async def open(self) -> None:
        """Do nothing: the broker connects with its first message."""

    async def submit(self, kind: str, number: int) -> None:
        """Send a message; this call blocks the event loop."""
        self._actors[kind].send(number)

    async def submit_awaited(self, kind: str, number: int) -> None:
        """Send a message without blocking the event loop."""
        await asyncio.to_thread(self._actors[kind].send, number)

    async def submit_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Send messages in sequence: dramatiq has no bulk call."""
        for number in numbers:
            self._actors[kind].send(number)

    async def work(self, slots: int) -> None:
        """Work until cancelled."""
        worker = dramatiq.Worker(self._broker, worker_threads=min(slots, 10) if slots <= 10 else THREADS)  # noqa: PLR2004
        worker.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            worker.stop()
