"""Sizes that a policy refuses: the pool gets the allowed size, and the refused size is written rarely."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.kube.errors import ForbiddenError
from agentpool_operator.pools.registry import Pools
from agentpool_operator.scale_loop.replicas import Scaler
from agentpool_operator.scaling.allowance import Allowance, next_allowance
from agentpool_operator.scaling.decision import Cap, Decision, Mode
from agentpool_operator.scaling.memory import PoolMemory

REF = PoolRef("ns", "p")


class Server:
    """An API server with a policy on the number of replicas."""

    def __init__(self, most):
        self.most = most
        self.sizes = []

    async def merge(self, path, patch, *, manager):
        size = patch["spec"]["replicas"]
        self.sizes.append(size)
        if size > self.most:
            raise ForbiddenError(request=path, status=422, message="denied")
        return {"metadata": {"resourceVersion": str(len(self.sizes))}}


def pool_of(pools, replicas):
    pools.see_pool(
        {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"handler": {"command": {"argv": ["a"]}}}}
    )
    metadata = {"name": "p", "namespace": "ns", "uid": "d", "resourceVersion": "0"}
    pools.see_deployment({"metadata": metadata, "spec": {"replicas": replicas}})
    return pools.get(REF)


@pytest.mark.parametrize(("current", "refused", "most"), [(0, 12, 3), (0, 1, 0), (2, 10_000, 4097), (5, 6, 5)])
async def test_a_refused_size_gives_the_largest_allowed(current, refused, most):
    """The search takes a logarithm of writes, and ends at the policy's number."""
    server, pools = Server(most), Pools()
    pool = pool_of(pools, current)
    assert await Scaler(server, pools).raise_as_allowed(pool, refused=refused) == most
    assert pool.deployment.replicas == most
    assert len(server.sizes) <= 14


def decision(replicas):
    return Decision(
        mode=Mode.AUTOMATIC,
        replicas=replicas,
        keep=replicas,
        wanted=9,
        capped_by=Cap.NONE,
        reason="",
        memory=PoolMemory(),
    )


def test_a_refused_size_is_tried_again_after_a_growing_pause():
    """Meanwhile smaller sizes are applied as usual."""
    first = next_allowance(None, size=3, raising=True, now=0.0)
    assert first.limit(decision(9), current=3, now=5.0).replicas == 3
    assert first.limit(decision(2), current=3, now=5.0).replicas == 2
    assert first.limit(decision(9), current=3, now=first.until).replicas == 9
    second = next_allowance(first, size=3, raising=True, now=first.until)
    assert second.pause_s == 2 * first.pause_s
    assert next_allowance(second, size=5, raising=True, now=0.0).pause_s == first.pause_s


def test_a_refused_scale_in_holds_the_size():
    """The workers stay; a scale-out is not affected."""
    refusal = Allowance(size=4, raising=False, pause_s=10.0, until=10.0)
    assert refusal.limit(decision(1), current=4, now=5.0).replicas == 4
    assert refusal.limit(decision(6), current=4, now=5.0).replicas == 6
