"""arq: a polled sorted set, every 10 ms here (by default 500 ms, which is its latency); no results kept."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from arq import Worker, create_pool
from arq.connections import RedisSettings
from arq.worker import func

from bench.peers import Jobs, in_turns

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_SECONDS = 0.01


class Peer:
    """A pool of connections and its functions."""

    def __init__(self, url: str, jobs: Jobs) -> None:
        logging.getLogger("arq").setLevel(logging.ERROR)
        self._settings = RedisSettings.from_dsn(url)
        self._pool: Any = None

        async def noop(_ctx: Any, _number: int) -> None:
            await jobs.noop()

        async def sleep(_ctx: Any, number: int) -> None:
            await jobs.sleep(number)

        async def stamp(_ctx: Any, sent_ns: int) -> None:
            jobs.ended(sent_ns)

        self._functions = [func(noop, name="noop"), func(sleep, name="sleep"), func(stamp, name="stamp")]

    async def open(self) -> None:
        """Connect."""
        self._pool = await create_pool(self._settings)

    async def submit(self, kind: str, number: int) -> None:
        """Submit a job."""
        await self._pool.enqueue_job(kind, number)

    async def submit_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Submit a hundred at once: arq has no bulk call."""
        await in_turns([lambda number=number: self._pool.enqueue_job(kind, number) for number in numbers])

    async def work(self, slots: int) -> None:
        """Work until cancelled."""
        worker = Worker(
            self._functions,
            redis_pool=self._pool,
            max_jobs=slots,
            queue_read_limit=5 * slots,
            poll_delay=POLL_SECONDS,
            keep_result=0,
            handle_signals=False,
        )
        await worker.main()
