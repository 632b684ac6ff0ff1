"""The simulated server: a real one that waits, expires and tells the time by the virtual clock alone."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from redis.exceptions import NoScriptError

from agentpool_core.queue import connect
from agentpool_core.queue.connection.client import call
from tests.simulation.clock import BEGIN_SECONDS
from tests.simulation.fleet import URL
from tests.simulation.grounds import simulated_server
from tests.simulation.network import Network
from tests.simulation.story import Story
from tests.simulation.surroundings import surroundings
from tests.simulation.virtual_loop import VirtualLoop


@pytest.fixture(scope="module")
def server():
    with simulated_server() as server:
        yield server


@pytest.fixture
def run(server):
    """Run a coroutine function, with a client, in a new schedule."""

    def run(program):
        loop = VirtualLoop()
        loop.connect = Network(loop, server, Story(loop.time), "seed").connect
        server.begin(loop, fresh=True)

        async def main():
            client = connect(URL)
            try:
                return await program(loop, client)
            finally:
                await client.aclose()

        try:
            with surroundings(loop, "seed"):
                return loop.run_until_complete(main())
        finally:
            server.finish()
            loop.close()

    return run


def test_time_and_stream_ids_are_of_the_virtual_clock(run):
    """TIME and the ids of streams are exact to the clock's resolution, and so is a key's expiry."""

    async def program(loop, client):
        await call(client, "SET", "key", "value", "PX", 1500)
        seen = [(await call(client, "TIME"), await call(client, "EXISTS", "key"))]
        await asyncio.sleep(1.499)
        seen.append((await call(client, "XADD", "stream", "*", "a", "b"), await call(client, "EXISTS", "key")))
        await asyncio.sleep(0.002)
        return [*seen, (await call(client, "TIME"), await call(client, "EXISTS", "key"))]

    begin = BEGIN_SECONDS
    assert run(program) == [
        ([str(begin), "0"], 1),
        (f"{begin * 1000 + 1499}-0", 1),
        ([str(begin + 1), "501000"], 0),
    ]


def test_blocked_reads_are_served_in_the_order_of_their_begin(run):
    """The first to wait gets the first element, and a wait without an element ends after its virtual time."""

    async def program(loop, client):
        waits = []
        for limit in (5, 5, 2):
            waits.append(asyncio.ensure_future(call(client, "BLPOP", "list", limit)))
            await asyncio.sleep(0.1)
        await asyncio.sleep(2.0)
        ended = [wait.done() for wait in waits]
        await call(client, "RPUSH", "list", "one", "two")
        return ended, await asyncio.gather(*waits), loop.time()

    ended, found, now = run(program)
    assert ended == [False, False, True]
    assert found == [["list", "one"], ["list", "two"], None]
    assert now == pytest.approx(2.3, abs=0.1)


def test_a_crash_forgets_scripts_and_may_go_back(run, server):
    """Keys of an earlier moment come back with their expiry, and no script is known."""
    script = "return redis.call('GET', 'key')"
    digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()

    async def program(loop, client):
        await call(client, "SET", "key", "old", "PX", 60_000)
        await call(client, "EVAL", script, 0)
        assert await call(client, "EVALSHA", digest, 0) == "old"
        await call(client, "XADD", "stream", "1-1", "a", "b")
        kept = server.keys()
        await asyncio.sleep(1.0)
        await call(client, "SET", "key", "new")
        server.crash(kept)
        with pytest.raises(NoScriptError):
            await call(client, "EVALSHA", digest, 0)
        return await call(client, "GET", "key"), await call(client, "PTTL", "key")

    assert run(program) == ("old", 59_000)
