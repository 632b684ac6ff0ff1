"""Shared snapshots: their reads end with the pool's queue."""

from __future__ import annotations

import asyncio

from agentpool_core.jobs import PoolRef
from agentpool_gateway.pools.snapshot_cache import SnapshotCache
from tests.fixtures.redis import wait_until


class Inspector:
    """A Redis that never answers."""

    def __init__(self) -> None:
        self.reads = 0

    async def snapshot(self, _pool: PoolRef) -> None:
        self.reads += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.reads -= 1


async def test_no_read_outlives_the_cache():
    """A cancelled request leaves its read to other requests; the close ends that read, and the next that waits."""
    inspector = Inspector()
    cache = SnapshotCache(inspector, PoolRef("test", "agents"))
    requests = [asyncio.create_task(cache.snapshot())]
    await wait_until(lambda: inspector.reads == 1, "the first read is under way")
    requests.append(asyncio.create_task(cache.snapshot()))
    await asyncio.sleep(0)
    for request in requests:
        request.cancel()
    await asyncio.wait(requests)
    assert inspector.reads == 1
    await cache.close()
    assert inspector.reads == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
