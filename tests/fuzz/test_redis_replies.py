"""Random replies to every call: a value or an error of ours, for any reply of a server; the next call is not harmed.

`AGENTPOOL_FUZZ_CASES` sets the number of cases (a slice by default; 10,000 before a release); the test prints the
count.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentpool_core.errors import AgentPoolError
from agentpool_core.queue import connect, producer
from agentpool_core.queue.connection.client import call
from tests.fixtures.calls import CALLS
from tests.fixtures.hostile import after_login, encoded, hostile_redis

CASES = int(os.environ.get("AGENTPOOL_FUZZ_CASES", "150"))
MANY = settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
CALL_SECONDS = 60.0  # no call needs that long
ENDLESS = {"pressure", "follow", "result", "wait", "wait and claim"}  # calls that wait for something that makes sense

words = st.sampled_from(
    ["ok", "more", "ended", "unknown", "waiting", "other", "not_dead", "full", "conflict", "cordoned", "paused", "=a b",
     "succeeded", "running", "x|default|task|||", "1 1 1 w", "1-1", "{", "[]", '{"a":1}', "", "0", "1e999", "-1",
     "redis_version", "state", "spec", "payload", "lease", "entry", "log"]
)  # fmt: skip
scalars = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), words, st.text(max_size=10), st.just("\udcff"),
    st.sampled_from(["ERR no", "READONLY no", "OOM no", "NOPERM no", "NOSCRIPT no", "MOVED 1 h:1"]).map(RuntimeError),
)  # fmt: skip
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=12), max_leaves=40)
broken = st.one_of(
    st.binary(max_size=20).map(lambda data: data + b"\r\n"),
    st.sampled_from([b"*-2\r\n", b"%1\r\n*0\r\n:1\r\n", b"$3\r\nab\r\n", b":x\r\n", b"*99999999\r\n", b">1\r\n+a\r\n"]),
)  # fmt: skip
replies = st.lists(st.one_of(values, values, broken), min_size=1, max_size=3)


async def outcome(redis, name: str) -> str:
    """Make a call; return the name of the outcome."""
    try:
        async with asyncio.timeout(0.3 if name in ENDLESS else CALL_SECONDS):
            await CALLS[name](redis)
    except AgentPoolError:
        return "refused"
    except TimeoutError:
        assert name in ENDLESS
        return "waited"
    return "answered"


def _wait_longer(pool) -> None:
    """Give answers the time that a busy machine may need; before, a silence was to end soon."""
    pool.connection_kwargs["socket_timeout"] = CALL_SECONDS
    for connection in (*pool._free, *pool._in_use):
        connection.socket_timeout = CALL_SECONDS


@pytest.mark.timeout(3600)
def test_any_reply_is_understood_or_refused(monkeypatch):
    """The calls alternate on random replies, in sequence for the commands of a call; then a good call works."""
    monkeypatch.setattr(producer, "BACKOFF_FIRST_SECONDS", 0.0)
    seen: Counter[str] = Counter()

    left: list[bytes] = []  # the next replies; the last reply repeats

    async def one(url, name, said) -> None:
        left[:] = [encoded(reply) for reply in said]
        redis = connect(f"{url}?protocol=2&socket_timeout=0.1")
        try:
            seen[await outcome(redis, name)] += 1
            left[:] = [b"+PONG\r\n"]
            _wait_longer(redis.connection_pool)
            assert await call(redis, "PING") == "PONG"
        finally:
            await redis.aclose()

    async def all_cases() -> None:
        loop = asyncio.get_running_loop()
        async with hostile_redis(after_login(lambda _: left.pop(0) if len(left) > 1 else left[0])) as url:

            @MANY
            @given(name=st.sampled_from(sorted(CALLS)), said=replies)
            def cases(name, said):
                asyncio.run_coroutine_threadsafe(one(url, name, said), loop).result()

            await asyncio.to_thread(cases)

    asyncio.run(all_cases())
    print(f"replies: {dict(seen)}")  # noqa: T201 - a fuzz run reports the count
    assert seen["refused"] > 0
