"""The pool's event stream, read to the end while it is written, past every restart of the server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from agentpool.errors import QueueError
from agentpool.jobs import JobEvent, PoolRef
from agentpool.queue import Inspector

PACE_S = 0.2
BATCH = 2_000


class History:
    """Follows one pool's events from the beginning."""

    def __init__(self, client: Any, pool: PoolRef) -> None:
        self._inspector = Inspector(client)
        self._pool = pool
        self._last = "0"
        self.events: list[JobEvent] = []

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            with contextlib.suppress(QueueError):  # the server is away; it will still know when it is back
                await self.catch_up()
            await asyncio.sleep(PACE_S)

    async def catch_up(self) -> None:
        """Reads what there is by now."""
        while found := await self._inspector.events(self._pool, after=self._last, limit=BATCH):
            self.events += found
            self._last = found[-1].id
