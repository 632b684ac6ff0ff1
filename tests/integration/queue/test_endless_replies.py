"""The client aborts an endless reply at a limit: during the login, after a command, or on a channel."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.errors import QueueError
from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, connect
from agentpool_core.queue.connection.client import ask
from tests.fixtures.hostile import hostile_redis

LIMIT = 2**20  # bytes
MORE = b"$2000000000\r\n" + b"x" * (2 * LIMIT)  # then silence: a reader of the rest waits for ever
WITHIN_SECONDS = 10.0


async def ping(redis):
    """Send a command on a wire."""
    return await ask(redis, "PING")


async def listen(redis):
    """Listen on a channel through redis-py's own reader."""
    return await anext(Inspector(redis).pressure({"ns"}))


async def snapshots(redis):
    """Read a pipeline."""
    (found,) = (await Inspector(redis).snapshots([PoolRef("ns", "p")])).values()
    if isinstance(found, QueueError):
        raise found


@pytest.mark.parametrize("use", [ping, listen, snapshots])
@pytest.mark.parametrize("at", ["login", "command"])
async def test_a_reply_without_end_is_given_up_at_the_limit(use, at):
    """The connection is closed and the call fails, long before any time limit and before memory is full."""

    def answer(command: list[bytes]) -> bytes:
        login = command[0].upper() in {b"HELLO", b"CLIENT", b"AUTH", b"SELECT"}
        return MORE if login == (at == "login") else b"+OK\r\n"

    async with hostile_redis(answer) as url:
        redis = connect(url, largest_reply_bytes=LIMIT)
        async with asyncio.timeout(WITHIN_SECONDS):
            with pytest.raises(QueueError):
                await use(redis)
        await redis.aclose()


@pytest.mark.parametrize("reply", [MORE, b"*900000\r\n" + b"$2\r\nxy\r\n" * 200_000, b"*200000000\r\n"])
@pytest.mark.parametrize(("scheme", "path"), [("redis+cluster:", ""), ("redis+sentinel:", "/service")])
async def test_a_node_of_a_cluster_and_a_sentinel_have_a_limit_too(reply, scheme, path):
    """A URL may name any server as a cluster's node, or as a Sentinel."""
    async with hostile_redis(reply) as url:
        redis = connect(url.removesuffix("/0").replace("redis:", scheme) + path, largest_reply_bytes=LIMIT)
        async with asyncio.timeout(WITHIN_SECONDS):
            with pytest.raises(QueueError):
                await ping(redis)
        await redis.aclose()


async def test_a_reply_below_the_limit_comes_whole(redis_url):
    """The limit applies to each reply, not to all traffic of a connection."""
    redis = connect(redis_url, largest_reply_bytes=LIMIT)
    text = "x" * (LIMIT // 2)
    await redis.set("{t}:large", text, ex=60)
    for _ in range(5):
        assert await ask(redis, "GET", "{t}:large") == text
        assert await redis.get("{t}:large") == text
    await redis.delete("{t}:large")
    await redis.aclose()
