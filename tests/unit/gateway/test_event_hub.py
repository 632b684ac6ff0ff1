"""The event hub: a single reader for all listeners, and each event once."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

from agentpool_core.jobs import PoolRef
from agentpool_gateway.pools.event_hub import EventHub
from tests.fixtures.redis import wait_until

POOL = PoolRef("test", "p")


class Inspector:
    """A pool with events of the test; the pool counts its readers."""

    def __init__(self) -> None:
        self.readers = 0
        self.happening: asyncio.Queue[object] = asyncio.Queue()

    async def snapshot(self, _pool):
        await asyncio.sleep(0)
        return SimpleNamespace(taken_at_ms=1)

    async def events(self, _pool, *, after):
        return []

    async def follow(self, _pool, *, after):
        self.readers += 1
        while True:
            yield await self.happening.get()


def event(event_id: str) -> SimpleNamespace:
    return SimpleNamespace(id=event_id)


async def test_two_simultaneous_listeners_share_a_reader():
    """The second listener waits for the reader of the first, and starts no second reader."""
    inspector = Inspector()
    hub = EventHub(inspector, POOL, backlog=10)
    both_listen = asyncio.Barrier(2)

    async def first_event() -> str:
        async with hub.listen() as events:
            await both_listen.wait()
            await inspector.happening.put(event("1-0"))
            return (await anext(events)).id

    async with asyncio.timeout(10):
        assert await asyncio.gather(first_event(), first_event()) == ["1-0", "1-0"]
    assert inspector.readers == 1
    assert hub._reader is None


async def test_a_repeated_event_is_delivered_once():
    """A reader that resumes may see events again that the hub has delivered."""
    inspector = Inspector()
    hub = EventHub(inspector, POOL, backlog=10)
    async with asyncio.timeout(10), hub.listen() as events:
        for event_id in ("1-0.0", "1-0.0", "1-0.1"):
            await inspector.happening.put(event(event_id))
        assert [(await anext(events)).id for _ in range(2)] == ["1-0.0", "1-0.1"]


async def test_a_reader_whose_end_was_not_awaited_ends_with_the_hub():
    """A request that is cancelled while it ends the reader leaves none behind for the hub's own close."""
    hub = EventHub(Inspector(), POOL, backlog=10)
    may_end = asyncio.Event()

    async def slow_to_end(_after: str) -> None:
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    hub._read = slow_to_end
    async with asyncio.timeout(10):
        listening = asyncio.create_task(listen_once(hub))
        await wait_until(lambda: hub._reader is None and hub._ending, "the request ends the reader")
        listening.cancel()
        await asyncio.wait([listening])
        closing = asyncio.create_task(hub.close())
        (reader,) = hub._ending
        may_end.set()
        await closing
    assert reader.done()


async def listen_once(hub: EventHub) -> None:
    async with hub.listen():
        await asyncio.sleep(0)  # the reader begins
