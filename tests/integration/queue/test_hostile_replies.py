"""Hostile answers in place of Redis.

Each call ends with a value, or with a typed error that names the checks to make.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from agentpool_core.errors import AgentPoolError, QueueReplyError
from agentpool_core.queue import connect
from agentpool_core.queue.connection.client import SHORTEST_BLOCK_SECONDS, call
from tests.fixtures.calls import CALLS
from tests.fixtures.hostile import CLOSE, after_login, encoded, hostile_redis

REPLIES = {
    "one": encoded(1),
    "minus one": encoded(-1),
    "nothing": encoded(None),
    "ok": b"+OK\r\n",
    "text": encoded("text"),
    "bytes": encoded("\udcff\udcfe"),
    "empty list": encoded([]),
    "ok list": encoded(["ok"]),
    "short list": encoded(["ok", "x"]),
    "list of lists": encoded([[[[["ok"]]]]] * 5),
    "long list": encoded(["ok"] * 40),
    "numbers": encoded([1] * 12),
    "map": b"%1\r\n+ok\r\n:1\r\n",
    "map of lists": b"%1\r\n*1\r\n:1\r\n:2\r\n",
    "deep": b"*1\r\n" * 5_000 + b":1\r\n",
    "negative size": b"*-7\r\n",
    "giant size": b"*2147483647\r\n" + b":1\r\n" * 10,
    "error": b"-WHAT is this\r\n",
    "moved": b"-MOVED 1 127.0.0.1:1\r\n",
    "web page": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "two replies": b":1\r\n:2\r\n",
    "broken off": b"$50\r\nabc",
    "silence": None,
    "closes": CLOSE,
}
STREAMS = {"pressure", "follow"}  # which wait for ever until a known message comes
INVALID = r".+: the server sent an invalid Redis reply \(.* check that the URL names a Redis server"
STREAM_SECONDS = 0.5
CALL_SECONDS = 60.0  # no call comes near it
NAMED = {"bytes", "map of lists", "deep", "negative size", "web page", "one", "text"}


async def outcome(ask, reply, *, rude, within_s=CALL_SECONDS):
    """Return the outcome of the call on a server that answers every command with this reply."""
    async with hostile_redis(reply if rude else after_login(reply)) as url:
        redis = connect(f"{url}?protocol=2&socket_timeout=0.2&socket_connect_timeout=0.2")
        try:
            async with asyncio.timeout(within_s):
                return await ask(redis)
        finally:
            await redis.aclose()


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch):
    monkeypatch.setattr("agentpool_core.queue.inspector.MOST_SLICES", 50)
    monkeypatch.setattr("agentpool_core.queue.consumer.ROUNDS_MAX", 50)
    monkeypatch.setattr("agentpool_core.queue.producer.BACKOFF_FIRST_SECONDS", 0.001)


@pytest.mark.parametrize("rude", [False, True], ids=["after login", "from login on"])
@pytest.mark.parametrize("reply", REPLIES)
async def test_every_call_survives_every_reply(reply, rude):
    """No exception of redis-py, of a parser, or from misread replies escapes."""
    calls = [
        outcome(call, REPLIES[reply], rude=rude, within_s=STREAM_SECONDS if name in STREAMS else CALL_SECONDS)
        for name, call in CALLS.items()
    ]
    for name, end in zip(CALLS, await asyncio.gather(*calls, return_exceptions=True), strict=True):
        if isinstance(end, TimeoutError) and name in STREAMS:
            continue
        assert not isinstance(end, Exception) or isinstance(end, AgentPoolError), f"{name} raised {end!r}"


@pytest.mark.parametrize("name", CALLS)
async def test_no_task_remains_after_a_failed_call(name):
    """A remaining task would connect again after the client was closed, and that connection would never be closed."""
    answers = iter([b"-ERR no\r\n", b"-ERR no\r\n"])  # to the first part of the call; the rest gets no answer
    async with hostile_redis(after_login(lambda _: next(answers, None))) as url:
        redis = connect(f"{url}?protocol=2&socket_timeout=5")
        call = asyncio.create_task(CALLS[name](redis))
        with contextlib.suppress(TimeoutError, AgentPoolError):
            async with asyncio.timeout(STREAM_SECONDS):
                await call
        assert [task for task in asyncio.all_tasks() if "agentpool_core" in task.get_coro().cr_code.co_filename] == []
        await redis.aclose()


@pytest.mark.parametrize("reply", sorted(NAMED))
@pytest.mark.parametrize("call", ["check server", "snapshot", "renew", "submit with a key", "job"])
async def test_a_server_other_than_redis_is_named(call, reply):
    """The error names the command and asks whether the server is a Redis server."""
    with pytest.raises(QueueReplyError, match=INVALID):
        await outcome(CALLS[call], REPLIES[reply], rude=False)


async def test_an_announced_length_allocates_no_memory():
    """A dozen bytes that announce two thousand million items cost neither memory nor time; the same holds for texts."""
    for reply in (b"*2147483647\r\n", b"*2\r\n:1\r\n*99999999\r\n", b"%2147483647\r\n"):
        with pytest.raises(QueueReplyError, match="a list of more than 1000000 items"):
            await outcome(CALLS["snapshot"], reply, rude=False)
    text = "\r\n*2147483647\r\n" * 3
    async with hostile_redis(after_login(encoded([text, text]))) as url:
        redis = connect(f"{url}?protocol=2")
        assert await call(redis, "ANY") == [text, text]
        await redis.aclose()


async def test_a_reply_without_end_is_cut_off():
    """A server cannot make its client hold more than a bounded number of bytes."""
    async with hostile_redis(after_login(b"$100000000\r\n" + b"x" * 2_000_000)) as url:
        redis = connect(f"{url}?protocol=2", largest_reply_bytes=1_000_000)
        with pytest.raises(QueueReplyError, match="more than 1000000 bytes"):
            await CALLS["snapshot"](redis)
        await redis.aclose()


async def test_a_server_that_does_not_block_causes_no_busy_loop(monkeypatch):
    """The client pauses after an empty blocking read that returned at once."""
    pauses = []
    real = asyncio.sleep

    async def noted(seconds, *rest):
        pauses.append(seconds)
        await real(0, *rest)

    async with hostile_redis(after_login(encoded(None))) as url:
        redis = connect(f"{url}?protocol=2")
        monkeypatch.setattr(asyncio, "sleep", noted)
        assert await call(redis, "BLPOP", "list", 20) is None
        monkeypatch.undo()
        await redis.aclose()
    assert 0 < max(pauses) <= SHORTEST_BLOCK_SECONDS
