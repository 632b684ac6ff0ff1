"""Who may have how many workers: shares of real registry and inventory, made anew only when something has changed."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_operator.capacity import placement
from agentpool_operator.capacity.inventory import Inventory
from agentpool_operator.capacity.placement import Placement
from agentpool_operator.pools.registry import Pools
from agentpool_operator.scaling.observation import Backlog, RouteLoad

GPUS = 4
CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def node(name: str):
    return {
        "metadata": {"name": name},
        "status": {
            "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110", "nvidia.com/gpu": str(GPUS)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod_on(place: str, name: str = "other", labels=None):
    container = {"name": "c", "resources": {"requests": {"nvidia.com/gpu": "1"}}}
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": labels or {}},
        "spec": {"nodeName": place, "containers": [container]},
    }


@pytest.fixture
def pools():
    found = Pools()
    for name in ("a", "b"):
        spec = {"handler": {"command": {"argv": ["true"]}}, "gpu": {"perWorker": 1}, "worker": {"concurrency": 1}}
        found.see_pool({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": spec})
    return found


@pytest.fixture
def inventory():
    found = Inventory()
    found.see_node(node("n"))
    return found


@pytest.fixture
def shared(monkeypatch):
    """How often the room was shared."""
    calls = []
    share = placement.share
    monkeypatch.setattr(placement, "share", lambda *given: calls.append(True) or share(*given))
    return calls


def waiting(pools: Pools, name: str, jobs: int) -> None:
    pools.get(PoolRef("ns", name)).queue.backlog = Backlog(routes=(RouteLoad(name="default", ready=jobs, running=0),))


def test_nothing_is_shared_anew_while_nothing_has_changed(pools, inventory, shared):
    """A second look at the same pools and nodes costs no sharing, and gives the same."""
    placing = Placement(inventory)
    first = placing.place(pools, news={PoolRef("ns", "a")}, now=0.0, at=0.0)
    assert placing.place(pools, news={PoolRef("ns", "a")}, now=1.0, at=1.0) == first == dict.fromkeys(first, GPUS)
    assert len(shared) == 1


def test_what_one_pool_wants_leaves_less_for_the_other(pools, inventory, shared):
    """News of a pool's backlog are shared at once; a pool that was not read keeps its claim."""
    placing = Placement(inventory)
    placing.place(pools, news=(), now=0.0, at=0.0)
    waiting(pools, "a", GPUS)
    granted = placing.place(pools, news={PoolRef("ns", "a")}, now=1.0, at=1.0)
    assert granted == {PoolRef("ns", "a"): GPUS, PoolRef("ns", "b"): 0}
    assert len(shared) == 2


def test_a_pod_that_comes_or_goes_is_shared_at_once(pools, inventory):
    """What others take of a node is not given out, and comes back with their end; so does a node."""
    placing = Placement(inventory)
    one = PoolRef("ns", "a")
    inventory.see_pod(pod_on("n"))
    assert placing.place(pools, news=(), now=0.0, at=0.0)[one] == GPUS - 1
    inventory.see_pod(pod_on("n"), gone=True)
    assert placing.place(pools, news=(), now=1.0, at=1.0)[one] == GPUS
    inventory.see_node(node("m"))
    assert placing.place(pools, news=(), now=2.0, at=2.0)[one] == 2 * GPUS
    inventory.see_node(node("n"), gone=True)
    assert placing.place(pools, news=(), now=3.0, at=3.0)[one] == GPUS


def test_a_pools_own_idle_pods_count_as_its_room(pools, inventory):
    """The pod holds a device, and yet the pool may have as many workers as the node has devices."""
    inventory.see_pod(pod_on("n", "mine", {"agentpool.dev/pool": "a"}))
    granted = Placement(inventory).place(pools, news=(), now=0.0, at=0.0)
    assert granted == {PoolRef("ns", "a"): GPUS, PoolRef("ns", "b"): GPUS}
    assert [holding.name for holding in inventory.holdings_of(PoolRef("ns", "a"))] == ["mine"]
    assert inventory.holdings_of(PoolRef("ns", "b")) == []


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"gpu": {"perWorker": GPUS}}, ""),
        (
            {"gpu": {"perWorker": 8}},
            "a worker asks for 8 nvidia.com/gpu; the largest permitted node has 4",
        ),
        (
            {"gpu": {"perWorker": 1}, "worker": {"template": {"spec": {"nodeSelector": {"no": "where"}}}}},
            "a worker's nodeSelector, affinity and tolerations exclude all nodes",
        ),
    ],
)
def test_why_no_node_could_ever_hold_a_worker_is_told(pools, inventory, spec, why):
    """A node that is full or cordoned now could; one that is too small, or of another kind, could not."""
    handler = {"handler": {"command": {"argv": ["true"]}}}
    pools.see_pool({"metadata": {"name": "a", "namespace": "ns", "uid": "a"}, "spec": {**handler, **spec}})
    cordoned = node("n") | {"spec": {"unschedulable": True, "taints": [CORDON]}}
    for seen in (node("n"), cordoned):
        inventory.see_node(seen)
        inventory.see_pod(pod_on("n"))
        placing = Placement(inventory)
        placing.place(pools, news=(), now=0.0, at=0.0)
        assert placing.misfit_of(PoolRef("ns", "a")) == why
