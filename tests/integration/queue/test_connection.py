"""The connections that calls keep at hand: used again while they are good, never when they are not."""

from __future__ import annotations

import asyncio

import pytest

from agentpool.queue import connect
from agentpool.queue.connection import KEPT_CONNECTIONS, call, together
from tests.fixtures.redis import wait_until


async def clients(admin, name):
    """How many connections the server sees of a client of that name."""
    return sum(client["name"] == name for client in await admin.client_list())


@pytest.fixture
async def client(redis_url, pool_ref):
    """A client that the server knows by the test's pool."""
    made = connect(redis_url, client_name=pool_ref.name)
    yield made
    await made.aclose()


async def test_calls_in_turn_share_a_connection(client):
    """Taking one out of the pool for each call would cost more than the call."""
    assert await call(client, "CLIENT", "ID") == await call(client, "CLIENT", "ID")


async def test_calls_at_once_have_a_connection_each_and_few_stay_at_hand(client):
    """A reply never reaches another call, and what is not kept goes back to the pool for the client's own calls."""
    replies = await asyncio.gather(*(together(client, ("ECHO", n), ("ECHO", -n)) for n in range(1, 40)))
    assert replies == [[str(n), str(-n)] for n in range(1, 40)]
    assert len(client.connection_pool._kept) == KEPT_CONNECTIONS
    assert await client.execute_command("ECHO", "after") == "after"


async def test_a_connection_that_the_server_closed_is_not_used(client, redis):
    """A restart of Redis while a program is idle does not fail its next call."""
    before = await call(client, "CLIENT", "ID")
    await redis.client_kill_filter(_id=before)
    (kept,) = client.connection_pool._kept
    await wait_until(lambda: not kept.usable, "the client's socket is closed")
    assert await call(client, "CLIENT", "ID") != before


async def test_a_broken_off_call_takes_its_connection_along(client):
    """What its answer would have been never becomes another call's."""
    before = await call(client, "CLIENT", "ID")
    waiting = asyncio.create_task(call(client, "BLPOP", "nothing-comes", 0))
    await wait_until(lambda: not client.connection_pool._kept, "it has taken the connection")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await call(client, "CLIENT", "ID") != before


async def test_a_closed_client_leaves_no_connection(client, redis, pool_ref):
    """Those at hand are closed with the pool's own."""
    await asyncio.gather(*(call(client, "PING") for _ in range(5)))
    assert await clients(redis, pool_ref.name) > 0
    await client.aclose()

    async def none_left():
        return not await clients(redis, pool_ref.name)

    await wait_until(none_left, "the server has seen them close")
