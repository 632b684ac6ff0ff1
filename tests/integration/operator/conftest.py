"""The pool of a test, and work for it."""

from __future__ import annotations

import pytest

from agentpool.jobs import JobRequest, PoolRef
from agentpool.queue import Inspector, Producer


@pytest.fixture
async def ref(redis, namespace):
    """The pool that `pool_of` makes by default; its queue goes with the test."""
    pool = PoolRef(namespace, "agents")
    yield pool
    await Inspector(redis).purge(pool)


async def submit(redis, ref, count):
    """So many jobs of one kind."""
    await Producer(redis, ref).submit_many([JobRequest(kind="work", payload={"n": n}) for n in range(count)])
