"""Connections that stay open between calls: used again while they work, never after a failure."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
import redis as sync_redis

from agentpool_core.client import Client
from agentpool_core.errors import QueueUnreachableError
from agentpool_core.queue import connect
from agentpool_core.queue.connection import pools, wire
from agentpool_core.queue.connection.client import ask, call, pipeline
from agentpool_core.queue.connection.pools import KEPT_CONNECTIONS
from tests.fixtures.redis import wait_until


async def clients(admin, name):
    """Count the connections of a client name on the server."""
    return sum(client["name"] == name for client in await admin.client_list())


@pytest.fixture
async def client(redis_url, pool_ref):
    """A client that the server knows by the name of the test's pool."""
    made = connect(redis_url, client_name=pool_ref.name)
    yield made
    await made.aclose()


async def test_calls_in_turn_share_a_connection(client):
    """Taking a connection out of the pool for each call would cost more than the call."""
    assert await call(client, "CLIENT", "ID") == await call(client, "CLIENT", "ID")


async def test_calls_at_once_have_a_connection_each_and_few_stay_at_hand(client):
    """A reply never reaches a different call; surplus connections go back to the pool for the client's own calls."""
    replies = await asyncio.gather(*(pipeline(client, ("ECHO", n), ("ECHO", -n)) for n in range(1, 40)))
    assert replies == [[str(n), str(-n)] for n in range(1, 40)]
    assert len(client.connection_pool._kept) == KEPT_CONNECTIONS
    assert await client.execute_command("ECHO", "after") == "after"


async def test_a_connection_that_the_server_closed_is_not_used(client, redis):
    """A restart of Redis during an idle time of the program does not fail the next call."""
    before = await call(client, "CLIENT", "ID")
    await redis.client_kill_filter(_id=before)
    (kept,) = client.connection_pool._kept
    await wait_until(lambda: not kept.usable, "the client's socket is closed")
    assert await call(client, "CLIENT", "ID") != before


async def test_an_aborted_call_closes_its_connection(client):
    """A later call never receives the answer of an aborted call."""
    before = await call(client, "CLIENT", "ID")
    waiting = asyncio.create_task(call(client, "BLPOP", "nothing-comes", 0))
    await wait_until(lambda: not client.connection_pool._kept, "it has taken the connection")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await call(client, "CLIENT", "ID") != before


async def test_a_closed_client_leaves_no_connection(client, redis, pool_ref):
    """Closing the client closes the kept connections together with those of the pool."""
    await asyncio.gather(*(call(client, "PING") for _ in range(5)))
    assert await clients(redis, pool_ref.name) > 0
    await client.aclose()

    async def none_left():
        return not await clients(redis, pool_ref.name)

    await wait_until(none_left, "the server has seen them close")


@pytest.mark.parametrize("options", ["", "?max_connections=3"])
async def test_many_calls_at_once_wait_for_their_turn(redis_server, pool, options):
    """Thousands of submits share a bounded number of connections, and none fails while all are in use."""
    async with Client(redis_server.tcp_url + options, pool=pool) as client:
        receipts = await asyncio.gather(*(client.submit("x", number) for number in range(1_500)))
        assert len({receipt.job_id for receipt in receipts}) == 1_500
        assert (await client.queue()).queued == 1_500


async def test_a_call_without_a_free_connection_fails_at_last(redis_server, monkeypatch):
    """The wait for a connection is bounded, and the error names the limit."""
    monkeypatch.setattr(pools, "FREE_WITHIN_SECONDS", 0.05)
    client = connect(redis_server.tcp_url + "?max_connections=1")
    waiting = asyncio.create_task(call(client, "BLPOP", "nothing-comes", 0))
    await wait_until(lambda: client.connection_pool.wires_made, "it has the connection")
    with pytest.raises(QueueUnreachableError, match="all 1 connections of this client were busy"):
        await ask(client, "PING")
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await ask(client, "PING") == "PONG"
    await client.aclose()


async def test_a_connection_closed_while_the_program_was_busy_is_not_used(redis_server_factory):
    """A server that closes idle connections fails no call of a program with a busy event loop."""
    server = redis_server_factory("--timeout", "1")
    client = connect(server.tcp_url)
    assert await call(client, "PING") == "PONG"
    (kept,) = client.connection_pool._kept
    with sync_redis.Redis(port=server.port) as admin:  # blocks the loop, as a computing program does
        while kept.usable and any(seen["cmd"] == "ping" for seen in admin.client_list()):
            pass
    kept.asked_at -= wire.IDLE_SECONDS
    assert kept.usable  # the loop has not noticed yet
    assert await call(client, "PING") == "PONG"
    await client.aclose()


SCRIPT = """
import asyncio, multiprocessing, sys
from agentpool_core.client import Client
from agentpool_core.sync_client import SyncClient
from agentpool_core.errors import ForeignLoopError, ResultTimeoutError

url, pool, way = sys.argv[1:]

async def once(client):
    receipt = await client.submit("x")
    try:
        await receipt.result(timeout=0.05)
    except ResultTimeoutError:
        return (await client.queue()).queued

def in_child(work):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(work()))
    child.start()
    found = results.get(timeout=20)
    child.join(20)
    return found, child.exitcode

if way == "loops":
    client = Client(url, pool=pool)
    print([asyncio.run(once(client)) for _ in range(3)])
elif way == "two loops at once":
    client = Client(url, pool=pool)
    async def both():
        await once(client)
        try:
            await asyncio.to_thread(asyncio.run, once(client))
        except ForeignLoopError as error:
            return str(error)
    print(asyncio.run(both()))
elif way == "fork":
    client = Client(url, pool=pool)
    print(asyncio.run(once(client)), in_child(lambda: asyncio.run(once(client))), asyncio.run(once(client)))
else:
    with SyncClient(url, pool=pool) as client:
        client.submit("x")
        print(in_child(lambda: (client.submit("x").duplicate, client.queue().queued, client.close())))
        print(in_child(client.close))
        print(client.submit("x").state)
"""


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("loops", "[1, 2, 3]"),
        ("two loops at once", "create a client for each event loop"),
        ("fork", "1 (2, 0) 3"),
        ("sync", "((False, 2, None), 0)\n(None, 0)\nqueued"),
    ],
)
async def test_a_client_follows_its_program(redis_url, pool, way, said):
    """The client works in the next event loop and in a forked process.

    Elsewhere the client fails at once and never hangs.
    """
    command = [sys.executable, "-X", "faulthandler", "-c", SCRIPT, redis_url, str(pool), way]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert said in done.stdout, done.stderr
