"""Random payloads, names and script arguments: accepted or refused by name, and never a half-written queue.

`AGENTPOOL_FUZZ_CASES` sets the number of cases (a slice by default; 10,000 before a release); the test prints the
count.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from agentpool_core.errors import InvalidJobError, QueueError
from agentpool_core.jobs import JobRequest, PoolRef, Priority, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, connect, scripts
from agentpool_core.queue.completions import Succeeded
from agentpool_core.queue.keys import Keys

CASES = int(os.environ.get("AGENTPOOL_FUZZ_CASES", "150"))
POOL = PoolRef("fuzz", "inputs")
MANY = settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))

texts = st.one_of(
    st.text(max_size=40), st.sampled_from(["", " ", "a b", "~ready", "{x}", "a|b", "\n", "\0", "x" * 600])
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
GOOD = st.fixed_dictionaries(
    {"kind": names, "payload": json_values, "priority": st.sampled_from(list(Priority))},
    optional={
        "job_id": names,
        "idempotency_key": names,
        "delay_ms": st.integers(0, 10**6),
        "ttl_ms": st.integers(1, 10**6),
        "timeout_ms": st.integers(1, 10**6),
        "max_attempts": st.integers(1, 100),
        "trace": st.dictionaries(names, names, max_size=2),
    },
)
WILD = {
    "kind": texts,
    "payload": values,
    "job_id": texts,
    "idempotency_key": texts,
    "after": st.lists(texts, max_size=3).map(tuple),
    "delay_ms": st.integers(-10, 10**18),
    "ttl_ms": st.integers(-10, 10**18),
    "timeout_ms": st.integers(-10, 10**18),
    "max_attempts": st.integers(-10, 10**9),
    "trace": st.dictionaries(texts, texts, max_size=2),
}


@st.composite
def requests(draw) -> dict:
    """A valid job, except for up to two arbitrary fields."""
    fields = draw(GOOD)
    for name in draw(st.lists(st.sampled_from(sorted(WILD)), max_size=2, unique=True)):
        fields[name] = draw(WILD[name])
    return fields


@pytest.fixture
def loop_and_redis(redis_url):
    loop = asyncio.new_event_loop()
    client = connect(redis_url)
    loop.run_until_complete(Inspector(client).configure(POOL, PoolSettings(max_depth=10**6)))
    yield loop, client
    loop.run_until_complete(Inspector(client).purge(POOL))
    loop.run_until_complete(client.aclose())
    loop.close()


async def counters_agree(client) -> None:
    snapshot = await Inspector(client).snapshot(POOL)
    counters = await client.hgetall(Keys(POOL).counters)
    assert snapshot.queued == sum(int(v) for k, v in counters.items() if k.startswith(("q:", "y:")))
    assert snapshot.running == sum(int(v) for k, v in counters.items() if k.startswith("r:"))


@pytest.mark.timeout(3600)
def test_any_job_is_stored_whole_or_refused_by_name(loop_and_redis):
    """A stored job is read back unchanged; a refusal names the field; the counters agree after each."""
    loop, client = loop_and_redis
    seen = {"taken": 0, "refused": 0}

    async def one(fields) -> None:
        before = (await Inspector(client).snapshot(POOL)).submitted_total
        try:
            receipt = await Producer(client, POOL).submit(JobRequest(**fields))
        except (InvalidJobError, QueueError):
            seen["refused"] += 1
            assert (await Inspector(client).snapshot(POOL)).submitted_total == before
            return
        seen["taken"] += 1
        job = await Inspector(client).job(POOL, receipt.job_id)
        if not receipt.duplicate:
            assert job.payload == fields["payload"]
        await counters_agree(client)

    @MANY
    @given(fields=requests())
    def cases(fields):
        loop.run_until_complete(one(fields))

    cases()
    print(f"jobs: {seen}")  # noqa: T201 - a fuzz run reports the count
    assert min(seen.values()) > 0


arguments = st.lists(
    st.one_of(texts, st.integers(-(2**63), 2**63).map(str), st.sampled_from(["0", "-1", "1e400", "nan", "w", "j"])),
    max_size=12,
)


@pytest.mark.timeout(3600)
def test_no_argument_breaks_a_script_halfway(loop_and_redis):
    """Any script with any arguments answers or is refused as a whole; the queue still works, and its counters agree."""
    loop, client = loop_and_redis
    counted = {"answered": 0, "refused": 0}
    # Only the operator calls these: configure writes checked settings, purge deletes the pool.
    risky = {"configure", "purge"}

    async def one(script, args) -> None:
        try:
            await client.execute_command("EVAL", script.source, 1, Keys(POOL).conf, *args)
            counted["answered"] += 1
        except (ResponseError, UnicodeError):
            counted["refused"] += 1

    @MANY
    @given(script=st.sampled_from([s for s in scripts.ALL if s.name not in risky]), args=arguments)
    def cases(script, args):
        loop.run_until_complete(one(script, args))

    cases()
    print(f"script calls: {counted}")  # noqa: T201 - as above
    loop.run_until_complete(still_works(client))


async def still_works(client) -> None:
    receipt = await Producer(client, POOL).submit(JobRequest(kind="work", priority=Priority.CRITICAL))
    consumer = Consumer(client, POOL, WorkerId("good"))
    await consumer.register(slots=1_000, host="h")
    for _ in range(1_000):
        leases = await consumer.claim(100)
        await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token) for lease in leases])
        if receipt.job_id in {lease.job_id for lease in leases}:
            return
    raise AssertionError("the good job never came")
