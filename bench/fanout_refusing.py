"""The refusing fan-out: a server that answers 503 while the slots are busy, and a caller that finally gives up.

The server is aiohttp on a separate port, as light as possible, so drops are due to refusals and not to slowness. The
server knows no keys, so an accepted duplicate runs again.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from bench.delegations import CONNECTIONS, MOST_TRIES, RUN_SECONDS, SLOTS, Delegation, Outcome, p99

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ACCEPTED, BUSY = 202, 503  # HTTP status
FIRST_BACKOFF_SECONDS = statistics.mean(RUN_SECONDS)  # doubles with each try, with jitter


class Refusing:
    """Runs jobs that find a free slot, and refuses the rest."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.last_end = 0.0
        self._running: set[asyncio.Task[None]] = set()

    async def take(self, request: web.Request) -> web.Response:
        """Answer 202 and run, or 503."""
        if len(self._running) >= SLOTS:
            return web.json_response({"error": "busy"}, status=BUSY)
        self.runs[request.headers["Idempotency-Key"]] += 1
        task = asyncio.create_task(self._run(float(request.headers["Run-Seconds"])))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return web.json_response({}, status=ACCEPTED)

    async def idle(self) -> None:
        """Wait until nothing runs."""
        while self._running:
            await asyncio.wait(self._running)

    async def _run(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.last_end = time.perf_counter()


async def refusing(sent: Sequence[Delegation]) -> Outcome:
    """Run a round."""
    server = Refusing()
    order = random.Random(len(sent))
    async with _served(server) as url, _session() as session:
        gate = asyncio.Semaphore(CONNECTIONS)
        answers_s: list[float] = []

        async def one(delegation: Delegation) -> bool:
            headers = {"Idempotency-Key": delegation.key, "Run-Seconds": str(delegation.seconds)}
            for attempt in range(MOST_TRIES):
                async with gate:
                    begun = time.perf_counter()
                    async with session.post(url, headers=headers) as answer:
                        taken = answer.status == ACCEPTED
                    answers_s.append(time.perf_counter() - begun)
                if taken:
                    return True
                await asyncio.sleep(FIRST_BACKOFF_SECONDS * 2**attempt * order.uniform(0.5, 1.5))
            return False

        begun = time.perf_counter()
        taken = await asyncio.gather(*(one(delegation) for delegation in sent))
        took_s = time.perf_counter() - begun
        await server.idle()
    return Outcome(
        dropped=taken.count(False),
        run_twice=sum(count > 1 for count in server.runs.values()),
        ran=sum(server.runs.values()),
        makespan_s=server.last_end - begun,
        answer_p99_s=p99(answers_s),
        answers_per_s=len(answers_s) / took_s,
    )


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS))


@asynccontextmanager
async def _served(server: Refusing) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", server.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()
