"""The pool's event stream, read completely during the run, past every restart of the server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import Any

from agentpool_core.errors import QueueError
from agentpool_core.jobs import JobEvent, PoolRef
from agentpool_core.queue import Inspector
from tests.chaos.checker import TERMINAL
from tests.chaos.rollbacks import survives

PACE_SECONDS = 0.2
BATCH = 2_000


class History:
    """Follows the events of one pool from the beginning."""

    def __init__(self, client: Any, pool: PoolRef) -> None:
        self._inspector = Inspector(client)
        self._pool = pool
        self._last = "0"
        self.events: list[JobEvent] = []
        self._ends_seen_at: list[float] = []  # seconds of the monotonic clock: the run moves the queue's clock

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            with contextlib.suppress(QueueError):  # the server is down; the events are still there after the restart
                await self.catch_up()
            await asyncio.sleep(PACE_SECONDS)

    async def catch_up(self) -> None:
        """Read all events up to now."""
        while found := await self._inspector.events(self._pool, after=self._last, limit=BATCH):
            self.events += found
            if any(event.type in TERMINAL for event in found):
                self._ends_seen_at.append(time.monotonic())
            self._last = found[-1].id

    def go_back(self, newest: str) -> None:
        """Forget the events that Redis has lost; called without a concurrent read."""
        self.events = [event for event in self.events if survives(event.id, newest)]
        self._last = self.events[-1].id if self.events else "0"

    def longest_silence_s(self) -> float:
        """Return the longest time without the end of a job."""
        return max((b - a for a, b in itertools.pairwise(self._ends_seen_at)), default=0.0)
