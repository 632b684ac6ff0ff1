"""The pool of a test, work for that pool, and waits for the results."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import JobRequest, PoolRef
from agentpool_core.queue import Inspector, Producer
from tests.fixtures.redis import wait_until

WITHIN_SECONDS = 60.0


@pytest.fixture
async def ref(redis, namespace):
    """The default pool of `pool_of`; its queue is deleted with the test."""
    pool = PoolRef(namespace, "agents")
    yield pool
    await Inspector(redis).purge(pool)


async def submit(redis, ref, count):
    """Submit this many jobs of one kind."""
    await Producer(redis, ref).submit_many([JobRequest(kind="work", payload={"n": n}) for n in range(count)])


@pytest.fixture
def until(look):
    async def wait(question, expected, *, within_s=WITHIN_SECONDS):
        async def holds():
            return await question() == expected

        await wait_until(holds, f"{question} gives {expected}", within_s=within_s)

    return wait
