"""The writer of statuses: a single patch at a time for each pool, and every later change is written, too."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.kube.errors import ClashError
from agentpool_core.queue.load import RouteLoad
from agentpool_operator.pools.problems import Problem
from agentpool_operator.pools.registry import Pools
from agentpool_operator.scaling.observation import Backlog
from agentpool_operator.status.patch import FIGURES_PER_SECOND, StatusWriter

REF = PoolRef("ns", "p")


class Api:
    """Accepts patches of the status once released, and refuses patches of an older version."""

    def __init__(self, resource):
        self.resource = resource
        self.go_on = asyncio.Event()
        self.asked = self.taken = 0

    async def merge(self, path, patch, *, manager):
        del manager
        self.asked += 1
        await self.go_on.wait()
        if patch["metadata"]["resourceVersion"] != self.resource["metadata"]["resourceVersion"]:
            raise ClashError(request=path, status=409, message="changed")
        self.taken += 1
        metadata = {**self.resource["metadata"], "resourceVersion": str(self.taken + 1)}
        status = {**self.resource.get("status", {}), **patch["status"]}
        self.resource = {
            **self.resource,
            "metadata": metadata,
            "status": {k: v for k, v in status.items() if v is not None},
        }
        return self.resource


@pytest.fixture
def pools():
    """The registry, with a single pool."""
    pools = Pools()
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
    return pools


@pytest.fixture
def pool(pools):
    return pools.get(REF)


async def test_two_passes_with_the_same_change_send_a_single_patch(pool, pools):
    """The reconciler and the scaling loop see the same change at once: the status is written once, without conflict."""
    api = Api(pool.resource)
    writer = StatusWriter(api, pools, gap_s=60, record=lambda *_: None)
    writes = [asyncio.create_task(writer.write(pool)) for _ in range(2)]
    await asyncio.sleep(0)
    api.go_on.set()
    await asyncio.gather(*writes)
    assert (api.asked, api.taken) == (1, 1)


async def test_a_change_during_a_patch_is_written_next(pool, pools):
    """The second pass does not wait, and its change is not lost."""
    api = Api(pool.resource)
    writer = StatusWriter(api, pools, gap_s=60, record=lambda *_: None)
    first = asyncio.create_task(writer.write(pool))
    await asyncio.sleep(0)
    pool.queue.problem = Problem(reason="RedisUnreachable", message="gone")
    await writer.write(pool)
    api.go_on.set()
    await first
    conditions = {c["type"]: c["reason"] for c in pool.resource["status"]["conditions"]}
    assert conditions["QueueReachable"] == "RedisUnreachable"
    assert (api.asked, api.taken) == (2, 2)


async def test_a_failed_write_does_not_block_the_next(pool, pools):
    """The pool's status is written later in spite of the failed patch."""
    api = Api(pool.resource)
    writer = StatusWriter(api, pools, gap_s=60, record=lambda *_: None)
    await pools.requested_passes()
    broken = asyncio.create_task(writer.write(pool))
    await asyncio.sleep(0)
    await writer.write(pool)
    broken.cancel()
    await asyncio.wait([broken])
    assert await pools.requested_passes() == {REF}  # the second pass does not know of the failure
    api.go_on.set()
    await writer.write(pool)
    assert api.taken == 1


async def test_a_late_answer_replaces_no_newer_spec(pool, pools):
    """The watch was faster: its version stays, and the status is written to that version next."""
    api = Api(pool.resource)
    writer = StatusWriter(api, pools, gap_s=60, record=lambda *_: None)
    first = asyncio.create_task(writer.write(pool))
    await asyncio.sleep(0)
    newer = {
        **pool.resource,
        "metadata": {**pool.resource["metadata"], "resourceVersion": "9"},
        "spec": {"paused": True},
    }
    pools.set_resource(pool, newer)
    api.go_on.set()
    await first
    assert pool.resource == newer


class Counting:
    """Accepts every patch and counts the patches."""

    def __init__(self):
        self.patches = 0

    async def merge(self, path, patch, *, manager):
        del path, manager
        self.patches += 1
        return {"metadata": {"uid": "u", "resourceVersion": "1"}, "status": patch["status"]}


@pytest.mark.parametrize(("count", "most_per_s"), [(1, 1 / 5), (1_000, FIGURES_PER_SECOND)])
async def test_the_rate_of_figures_is_limited_for_any_number_of_pools(count, most_per_s):
    """A single busy pool is written every five seconds, a thousand less often; a changed condition at once."""
    pools, clock, api = Pools(), [0.0], Counting()
    for n in range(count):
        metadata = {"name": f"p{n}", "namespace": "ns", "uid": f"u{n}", "resourceVersion": "1"}
        pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
    writer = StatusWriter(api, pools, gap_s=5.0, record=lambda *_: None, clock=lambda: clock[0])

    async def look(ready):
        for pool in pools:
            pool.queue.backlog = Backlog(routes=(RouteLoad(name="all", limit=None, ready=ready, running=0),))
            await writer.write(pool)

    await look(1)
    first = api.patches
    assert first == count
    for second in range(2, 202, 2):
        clock[0] = float(second)
        await look(second)
    assert 0.8 * most_per_s <= (api.patches - first) / 200 <= most_per_s
    reported = api.patches
    pool = next(iter(pools))
    pool.queue.problem = Problem(reason="RedisUnreachable", message="gone")
    await writer.write(pool)
    assert api.patches == reported + 1
