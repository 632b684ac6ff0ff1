"""taskiq with taskiq-redis: streams, 100 tasks at once and 100 more prefetched, no parsing of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from bench.peers import Jobs, in_turns

if TYPE_CHECKING:
    from collections.abc import Sequence


class Peer:
    """A stream broker and its tasks."""

    def __init__(self, url: str, jobs: Jobs) -> None:
        self._broker = RedisStreamBroker(url)
        broker = self._broker

        @broker.task(task_name="noop")
        async def noop(_number: int) -> None:
            await jobs.noop()

        @broker.task(task_name="sleep")
        async def sleep(number: int) -> None:
            await jobs.sleep(number)

        @broker.task(task_name="stamp")
        async def stamp(sent_ns: int) -> None:
            jobs.ended(sent_ns)

        self._tasks = {"noop": noop, "sleep": sleep, "stamp": stamp}

    async def open(self) -> None:
        """Connect and makes the group."""
        await self._broker.startup()

    async def submit(self, kind: str, number: int) -> None:
        """Submit a task."""
        await self._tasks[kind].kiq(number)

    async def submit_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Submit a hundred at once: taskiq has no bulk call."""
        task = self._tasks[kind]
        await in_turns([lambda number=number: task.kiq(number) for number in numbers])

    async def work(self, slots: int) -> None:
        """Receive until cancelled."""
        await run_receiver_task(self._broker, max_async_tasks=slots, max_prefetch=slots, validate_params=False)
