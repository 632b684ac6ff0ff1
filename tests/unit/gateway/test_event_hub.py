"""The event hub: a single reader for all listeners, and each event once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from agentpool_core.jobs import PoolRef
from agentpool_gateway.pools.event_hub import EventHub

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
