"""A connection that is lost before a write is an outage, on every event loop."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from agentpool_core.errors import QueueUnreachableError
from agentpool_core.jobs import JobRequest, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_submit_on_a_lost_connection_reports_an_outage(redis_url, pool_ref: PoolRef, monkeypatch, new_loop):
    """The connection closes between its last check and the write, as a reset at that moment closes a connection."""

    async def lose_it_before_the_write() -> None:
        redis = connect(redis_url)
        await Inspector(redis).configure(pool_ref, PoolSettings())
        take = redis.connection_pool.take

        async def taken(**options):
            wire = await take(**options)
            wire._transport.abort()
            await asyncio.sleep(0.01)  # the loop closes the connection
            return wire

        with monkeypatch.context() as patch:
            patch.setattr(redis.connection_pool, "take", taken)
            with pytest.raises(QueueUnreachableError):
                await Producer(redis, pool_ref).submit(JobRequest(kind="x"))
        await Producer(redis, pool_ref).submit(JobRequest(kind="x"))
        await Inspector(redis).purge(pool_ref)
        await redis.aclose()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(lose_it_before_the_write())
