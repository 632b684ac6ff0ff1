"""What a wire makes of whatever a server may send, in whatever pieces, or not at all."""

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
    """Starts servers that answer each call with the given bytes, piece by piece; gives a client of one."""
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
    """Pieces of a reply, and of a character, are put together."""
    assert await pipeline(redis, ("ECHO", LARGE), ("ECHO", "next")) == [LARGE, "next"]


async def test_an_error_reply_stands_in_its_place(redis):
    """The replies behind it are still their callers'."""
    first, wrong, last = await pipeline(redis, ("ECHO", "a"), ("LLEN",), ("ECHO", "b"))
    assert (first, last) == ("a", "b")
    assert "wrong number of arguments" in str(wrong)


async def test_a_reply_may_come_in_pieces(scripted):
    """Nothing is taken before it is whole."""
    client = await scripted((b"$5\r", b"\nhel", b"lo\r\n"), ())
    assert await call(client, "ASK") == "hello"


@pytest.mark.parametrize("answer", [(b"$5\r\nhe",), (), (b"!nonsense\r\n",)])
async def test_a_reply_that_breaks_off_is_a_lost_connection(scripted, answer):
    """Half a reply, none, or what is no reply at all: the call fails, and says why."""
    client = await scripted(answer)
    with pytest.raises(ConnectionError, match="lost"):
        await call(client, "ASK")


async def test_a_silent_server_is_given_up(scripted):
    """After the client's socket timeout; a script tells it as a queue that cannot be reached."""
    client = await scripted((), (), socket_timeout=0.05)
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        await call(client, "ASK")
    with pytest.raises(QueueUnreachableError, match="did not answer"):
        await scripts.SUBMIT.run(client, "ASK")


async def test_what_nobody_asked_for_closes_the_connection(scripted):
    """A reply too many would be taken for the next call's."""
    client = await scripted((b"+one\r\n+two\r\n",), (b"+three\r\n",), ())
    with contextlib.suppress(ConnectionError):
        assert await call(client, "ASK") == "one"
    await wait_until(lambda: not any(wire.usable for wire in client.connection_pool._kept), "it is closed")
    assert await call(client, "ASK") == "three"
