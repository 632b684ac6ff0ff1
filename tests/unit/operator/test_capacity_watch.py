"""The inventory's watches: begun when they are wanted, and never dead unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentpool_operator.capacity.capacity_watch import CapacityWatch
from agentpool_operator.capacity.inventory import Inventory
from tests.fixtures.redis import wait_until


class Cluster:
    """A cluster without nodes and pods; its watches end with the results of the test."""

    def __init__(self, end: Exception | None = None) -> None:
        self._end = end
        self.watching = 0

    async def list(self, _path, **_selectors):
        return [], "1"

    async def watch(self, _path, _since, **_selectors) -> AsyncIterator[tuple[str, dict]]:
        if self._end is not None:
            raise self._end
        self.watching += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.watching -= 1
        yield "ADDED", {}


async def test_an_unexpected_fault_ends_the_feed():
    """Otherwise an old inventory would count as ready after the end of the watch."""
    capacity_watch = CapacityWatch(Cluster(KeyError("resourceVersion")), Inventory())
    capacity_watch.start()
    async with asyncio.timeout(10):
        with pytest.raises(KeyError):
            await capacity_watch.run()


async def test_the_feed_watches_from_its_start_to_its_end():
    """No request is sent before a pool needs devices; none follows the end."""
    cluster = Cluster()
    capacity_watch = CapacityWatch(cluster, Inventory())
    running = asyncio.create_task(capacity_watch.run())
    await asyncio.sleep(0)
    assert not capacity_watch.ready
    capacity_watch.start()
    await wait_until(lambda: cluster.watching == 6, "all watches are open")
    assert capacity_watch.ready
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert cluster.watching == 0
