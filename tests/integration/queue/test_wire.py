"""The wire's handling of arbitrary server replies: in any pieces, incomplete, or absent."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004  # Redis's own

from agentpool_core.errors import QueueUnreachableError
from agentpool_core.queue import connect, scripts
from agentpool_core.queue.connection.client import call, pipeline
from tests.fixtures.redis import wait_until

LARGE = "ü" * 700_000  # comes in many pieces, and is cut within a character


@pytest.fixture
async def scripted():
    """Start servers that answer each call with the given bytes in pieces; return a client of such a server."""
    async with contextlib.AsyncExitStack() as ends:

        async def start(*answers, **options):
            left = list(answers)

            async def serve(reader, writer):
                with contextlib.closing(writer):
                    while data := await reader.read(65_536):
                        ours = b"ASK" in data
                        for piece in (left.pop(0) if left else ()) if ours else (b"+OK\r\n",) * data.count(b"*"):
                            writer.write(piece)
                            await writer.drain()
                            await asyncio.sleep(0)
                        if ours and not left:
                            return

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            ends.push_async_callback(server.wait_closed)
            ends.callback(server.close)
            port = server.sockets[0].getsockname()[1]
            client = connect(f"redis://127.0.0.1:{port}/0?protocol=2", **options)
            ends.push_async_callback(client.aclose)
            return client

        yield start


async def test_large_replies_come_whole(redis):
    """Pieces of a reply, and of a character, are joined."""
    assert await pipeline(redis, ("ECHO", LARGE), ("ECHO", "next")) == [LARGE, "next"]


async def test_an_error_reply_keeps_its_place(redis):
    """The replies behind an error still reach their callers."""
    first, wrong, last = await pipeline(redis, ("ECHO", "a"), ("LLEN",), ("ECHO", "b"))
    assert (first, last) == ("a", "b")
    assert "wrong number of arguments" in str(wrong)


async def test_a_reply_may_come_in_pieces(scripted):
    """No part is used before the reply is complete."""
    client = await scripted((b"$5\r", b"\nhel", b"lo\r\n"), ())
    assert await call(client, "ASK") == "hello"


@pytest.mark.parametrize("answer", [(b"$5\r\nhe",), (), (b"!nonsense\r\n",)])
async def test_a_reply_that_breaks_off_is_a_lost_connection(scripted, answer):
    """A half reply, no reply, or bytes that are no reply: the call fails with the reason."""
    client = await scripted(answer)
    with pytest.raises(ConnectionError, match="lost"):
        await call(client, "ASK")


async def test_a_silent_server_is_given_up(scripted):
    """The client stops after its socket timeout; a script reports an unreachable queue."""
    client = await scripted((), (), socket_timeout=0.05)
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        await call(client, "ASK")
    with pytest.raises(QueueUnreachableError, match="did not answer"):
        await scripts.SUBMIT.run(client, "ASK")


async def test_a_surplus_reply_closes_the_connection(scripted):
    """A surplus reply would be taken for the answer to the next call."""
    client = await scripted((b"+one\r\n+two\r\n",), (b"+three\r\n",), ())
    with contextlib.suppress(ConnectionError):
        assert await call(client, "ASK") == "one"
    await wait_until(lambda: not any(wire.usable for wire in client.connection_pool._kept), "it is closed")
    assert await call(client, "ASK") == "three"
