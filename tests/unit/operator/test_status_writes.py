"""The writer of statuses: one patch at a time for each pool, and nothing that changed meanwhile is left untold."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.kube.errors import ClashError
from agentpool_operator.pools.problems import Problem
from agentpool_operator.pools.registry import Pools
from agentpool_operator.scaling.observation import Backlog, RouteLoad
from agentpool_operator.status.patch import FIGURES_PER_SECOND, StatusWriter

REF = PoolRef("ns", "p")


class Api:
    """Takes patches of the status once it is let go on, and refuses those of an older version."""

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
    """The registry, with one pool."""
    pools = Pools()
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
    return pools


@pytest.fixture
def pool(pools):
    return pools.get(REF)


async def test_two_passes_that_see_the_same_send_one_patch(pool, pools):
    """The reconciler and the scaling loop come upon the same news at once: it is told once, without a clash."""
    api = Api(pool.resource)
    writer = StatusWriter(api, pools, gap_s=60, record=lambda *_: None)
    writes = [asyncio.create_task(writer.write(pool)) for _ in range(2)]
    await asyncio.sleep(0)
    api.go_on.set()
    await asyncio.gather(*writes)
    assert (api.asked, api.taken) == (1, 1)


async def test_what_changes_while_a_patch_is_on_its_way_is_told_right_after(pool, pools):
    """The second pass does not wait, and yet its news is not lost."""
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


async def test_a_write_that_fails_leaves_the_next_one_free(pool, pools):
    """What broke one patch does not keep the pool's status from being told later."""
    api = Api(pool.resource)
    writer = StatusWriter(api, pools, gap_s=60, record=lambda *_: None)
    await pools.requested_passes()
    broken = asyncio.create_task(writer.write(pool))
    await asyncio.sleep(0)
    await writer.write(pool)
    broken.cancel()
    await asyncio.wait([broken])
    assert await pools.requested_passes() == {REF}  # who left his news to it does not know that it failed
    api.go_on.set()
    await writer.write(pool)
    assert api.taken == 1


async def test_an_answer_that_comes_late_takes_no_newer_spec_back(pool, pools):
    """The watch was faster: what it told stays, and the status is written to that version next."""
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
    """Takes every patch and counts them."""

    def __init__(self):
        self.patches = 0

    async def merge(self, path, patch, *, manager):
        del path, manager
        self.patches += 1
        return {"metadata": {"uid": "u", "resourceVersion": "1"}, "status": patch["status"]}


@pytest.mark.parametrize(("count", "most_per_s"), [(1, 1 / 5), (1_000, FIGURES_PER_SECOND)])
async def test_figures_that_merely_move_are_written_so_often_however_many_pools_move_them(count, most_per_s):
    """One busy pool is told every five seconds, a thousand less often; news of any of them at once."""
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
    told = api.patches
    pool = next(iter(pools))
    pool.queue.problem = Problem(reason="RedisUnreachable", message="gone")
    await writer.write(pool)
    assert api.patches == told + 1
