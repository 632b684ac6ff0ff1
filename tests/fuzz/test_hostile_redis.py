"""Any reply of Redis to the operator's readings: a possible reading, or a condition; never an exception.

Decision, status and metrics must accept each reading. `AGENTPOOL_FUZZ_CASES` sets the number of replies (a slice by
default).
"""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from agentpool_core.jobs import PoolRef
from agentpool_core.redis_address import Address
from agentpool_operator.pools.observing import observation_of
from agentpool_operator.pools.registry import Pools
from agentpool_operator.pools.resolve import policy_of
from agentpool_operator.queue.reader import QueueReader
from agentpool_operator.queue.redis_connections import RedisConnections
from agentpool_operator.queue_metrics import QueueMetrics
from agentpool_operator.scaling.decide import decide
from agentpool_operator.status.patch import status_of
from tests.fixtures.hostile import encoded, hostile_redis

CASES = int(os.environ.get("AGENTPOOL_FUZZ_CASES", "300"))
REF = PoolRef("ns", "p")
MAX_INT32 = 2**31 - 1
_TEXTS = [b"", b"ok", b"unknown_pool", b"changed", b"nan", b"inf", b"-1", b"1e400", b"9" * 400, b"\xff\xfe",
          b"[]", b"{}", b'[{"name": 1, "max_running": "x"}]', b'[{"name": "r", "max_running": 1e999}]', b"[" * 2_000,
          b'[{"name": "l", "max_running": 1}]', b'[{"name": "l", "count": 1, "period_ms": 1, "burst": 1}]',
          b'[{"name": "\\ud800", "kinds": [], "max_running": 1}]', b"1 2 3 h",
          b"q:default:task", b"r:default", b"p:default", b"x:w", b"submitted", b"suspects", b"held", b"w:l", b"l",
          b"\0", b"x" * 10_000]  # fmt: skip


def text(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)


INTEGERS = st.sampled_from([0, 1, -1, 5, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]).map(encoded)
LEAVES = (
    INTEGERS | (st.sampled_from(_TEXTS) | st.binary(max_size=6)).map(text) | st.sampled_from([b"$-1\r\n", b"*-1\r\n"])
)
REPLIES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=6).map(encoded), max_leaves=12)
GOOD = [text(b"ok"), encoded(10**12), text(b"r"), encoded(0), encoded(0), text(b"[]"), encoded(0), encoded(0),
        encoded(0), encoded(-1), text(b"[]"), encoded(0), encoded([]), encoded([]), encoded([]),
        encoded(0)]  # fmt: skip
COUNTERS_AT = 13
COUNTERS = st.lists(st.tuples(st.sampled_from(_TEXTS), st.sampled_from(_TEXTS)), max_size=4).map(
    lambda pairs: encoded([text(part) for pair in pairs for part in pair])
)


@st.composite
def snapshots(draw) -> bytes:
    """A snapshot's reply with some wrong items."""
    items = list(GOOD)
    items[COUNTERS_AT] = draw(COUNTERS)
    items[10] = text(draw(st.sampled_from(_TEXTS)))
    for place in draw(st.lists(st.integers(0, len(items) - 1), max_size=3)):
        items[place] = draw(REPLIES)
    return encoded(items[: draw(st.integers(8, len(items)))] if draw(st.booleans()) else items)


@pytest.mark.timeout(3600)
async def test_any_reply_is_a_possible_reading_or_a_condition():
    """Two pools of a Redis are read together; each ends with a backlog or with a problem in its status."""
    drawn: list[bytes] = []

    @settings(
        max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )  # fmt: skip
    @given(reply=snapshots() | REPLIES)
    def collect(reply):
        drawn.append(reply)

    collect()
    read = 0
    async with reading() as (pools, reader, replies):
        for reply in drawn:
            replies.append(reply)
            await reader.read(list(pools))
            for pool in pools:
                assert (pool.snapshot is None) == (pool.queue.problem is not None), reply
                read += pool.snapshot is not None
            check_readers(pools)
    assert read > len(drawn) // 20, "the replies are no readings any more: compare GOOD with snapshot.lua"
    print(f"replies: {len(drawn)} sent, {read} readings believed")  # noqa: T201 - the count is asked for


class Reading:
    """Two pools on a server that answers with the last item of a list."""

    async def __aenter__(self):
        self._replies: list[bytes] = []
        self._server = hostile_redis(self._answer)
        url = await self._server.__aenter__()
        pools = Pools()
        for name in ("p", "q"):
            metadata = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"}
            pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
        for pool in pools:
            pool.queue.published = "before"

        async def address(*_):
            return Address(url=url)

        async def noted(*_, **__):
            return None

        self._connections = RedisConnections(lambda *_: None)
        secrets = SimpleNamespace(address=address, reread_soon=lambda *_: None)
        reader = QueueReader(
            secrets, self._connections, SimpleNamespace(note=noted, foreign_owner=lambda *_: ""), timeout_s=0.5
        )
        for pool in pools:
            pool.queue.address = Address(url=url)
        return pools, reader, self._replies

    async def __aexit__(self, *error):
        await self._connections.close()
        await self._server.__aexit__(*error)

    def _answer(self, command: list[bytes]) -> bytes:
        if command[0] in {b"EVALSHA", b"EVAL"} and self._replies:
            return self._replies[-1]
        return b"+OK\r\n"


def reading() -> Reading:
    return Reading()


@pytest.mark.parametrize(
    ("place", "item"),
    [
        (COUNTERS_AT, ["suspects", "9" * 400]),
        (COUNTERS_AT, ["held", "9" * 400]),
        (COUNTERS_AT, ["w:l", "9" * 400]),
        (11, "due"),
        (15, "waiting"),
        (10, json.dumps([{"name": "l", "by": "key", "max_running": 1}] * 2)),
        (10, json.dumps([{"name": f"l-{n}", "by": "key", "max_running": 1} for n in range(5_000)])),
    ],
)
async def test_a_pool_spoils_no_metrics_of_different_pools(place, item):
    """Figures beyond floats and endless limits: that pool is unreadable, and no scrape fails."""
    limits = text(json.dumps([{"name": "l", "by": "key", "max_running": 1}]).encode())
    items = [*GOOD[:10], limits, *GOOD[11:]]
    parts = [text(part.encode()) for part in ([item] if isinstance(item, str) else item)]
    items[place] = parts[0] if isinstance(item, str) else encoded(parts)
    async with reading() as (pools, reader, replies):
        replies.append(encoded([*GOOD[:10], limits, *GOOD[11:]]))
        await reader.read(list(pools))
        assert all(pool.snapshot is not None for pool in pools), [pool.queue.problem for pool in pools]
        replies.append(encoded(items))
        await reader.read(list(pools))
        assert all(pool.snapshot is None for pool in pools)
        check_readers(pools)


async def test_a_route_whose_name_is_no_utf_8_is_left_out():
    """The pool is read without the route, and no scrape fails."""
    routes = text(json.dumps([{"name": "\ud800", "kinds": [], "max_running": 1}]).encode())
    async with reading() as (pools, reader, replies):
        replies.append(encoded([*GOOD[:5], routes, *GOOD[6:]]))
        await reader.read(list(pools))
        assert all(pool.snapshot is not None for pool in pools), [pool.queue.problem for pool in pools]
        check_readers(pools)


def check_readers(pools: Pools) -> None:
    """Check that the decision, the status schema and the page for Prometheus accept all pools."""
    for pool in pools:
        seen = observation_of(pool, now=time.monotonic(), at=time.time())
        pool.scaling.decision = decide(
            seen, policy_of(pool.spec, time.time(), {}), pool.scaling.memory, time.monotonic()
        )
        status = status_of(pool, now=time.time())
        json.dumps(status, allow_nan=False)
        figures = [status[name] for name in ("queued", "running", "oldestWaitSeconds", "wantedReplicas")]
        assert all(0 <= figure <= MAX_INT32 for figure in figures), status
        assert all(len(condition["message"]) <= 32_768 for condition in status["conditions"])
    registry = CollectorRegistry()
    registry.register(QueueMetrics(pools, leading=lambda: True))
    generate_latest(registry)
