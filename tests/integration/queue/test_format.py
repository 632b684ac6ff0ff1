"""The format of a pool's queue: an older program leaves the queue of a newer release alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.jobs import WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings
from agentpool_core.queue.formats import FORMAT, NewerFormatError
from agentpool_core.queue.keys import Keys


@pytest.fixture
async def newer(redis, pool):
    """A pool whose queue a newer release keeps."""
    await redis.hset(Keys(pool).conf, mapping={"format": FORMAT + 1, "revision": "of-the-newer"})
    return pool


async def test_the_settings_of_a_pool_state_the_format(redis, pool):
    """Each release writes its format with the settings."""
    await Inspector(redis).configure(pool, PoolSettings())
    assert await redis.hget(Keys(pool).conf, "format") == str(FORMAT)


async def test_a_worker_does_not_register_with_the_queue_of_a_newer_release(redis, newer):
    """The worker learns both formats and the remedy, and leaves no trace."""
    told = rf"format '{FORMAT + 1}'.* up to {FORMAT}; upgrade this program"
    with pytest.raises(NewerFormatError, match=told):
        await Consumer(redis, newer, WorkerId("old")).register(slots=1, host="h")
    assert (await Inspector(redis).snapshot(newer)).workers == ()


async def test_a_worker_notices_that_a_newer_release_took_over(redis, pool):
    """The settings are refused, so a worker that runs does not claim under rules that it misreads."""
    consumer = Consumer(redis, pool, WorkerId("old"))
    await consumer.register(slots=1, host="h")
    await redis.hset(Keys(pool).conf, "format", FORMAT + 1)
    with pytest.raises(NewerFormatError):
        await consumer.settings()


async def test_an_older_operator_does_not_write_over_a_newer_release(redis, newer):
    """The settings of the newer release stay as they are."""
    before = await redis.hgetall(Keys(newer).conf)
    with pytest.raises(NewerFormatError, match="roll the operator back"):
        await Inspector(redis).configure(newer, replace(PoolSettings(), max_depth=5))
    assert await redis.hgetall(Keys(newer).conf) == before


async def test_the_queue_of_a_release_without_formats_is_read(redis, pool):
    """A pool of 0.2.0 has no format."""
    await redis.hdel(Keys(pool).conf, "format")
    await Consumer(redis, pool, WorkerId("new")).register(slots=1, host="h")
    assert await Inspector(redis).settings(pool)
