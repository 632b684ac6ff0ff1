"""The number of workers per pool: shares of a real registry and inventory, computed again only after a change."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.queue.load import RouteLoad
from agentpool_operator.capacity import placement
from agentpool_operator.capacity.inventory import Inventory
from agentpool_operator.capacity.placement import Placement
from agentpool_operator.pools.registry import Pools
from agentpool_operator.scaling.observation import Backlog

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
    """The calls of the sharing."""
    calls = []
    share = placement.share
    monkeypatch.setattr(placement, "share", lambda *given: calls.append(True) or share(*given))
    return calls


def placeable(granted):
    return {ref.name: grant.placeable for ref, grant in granted.items()}


def waiting(pools: Pools, name: str, jobs: int) -> None:
    pools.get(PoolRef("ns", name)).queue.backlog = Backlog(routes=(RouteLoad(name="default", ready=jobs, running=0),))


def test_an_unchanged_state_is_not_shared_again(pools, inventory, shared):
    """A second look at the same pools and nodes costs no sharing, and gives the same."""
    placing = Placement(inventory)
    first = placing.place(pools, news={PoolRef("ns", "a")}, now=0.0, at=0.0)
    assert placing.place(pools, news={PoolRef("ns", "a")}, now=1.0, at=1.0) == first
    assert placeable(first) == {"a": GPUS, "b": GPUS}
    assert len(shared) == 1


def test_the_demand_of_a_pool_leaves_less_for_the_next_pool(pools, inventory, shared):
    """A change of a pool's backlog is shared at once; a pool that was not read keeps its claim."""
    placing = Placement(inventory)
    placing.place(pools, news=(), now=0.0, at=0.0)
    waiting(pools, "a", GPUS)
    granted = placing.place(pools, news={PoolRef("ns", "a")}, now=1.0, at=1.0)
    assert placeable(granted) == {"a": GPUS, "b": 0}
    assert len(shared) == 2


def test_a_new_or_removed_pod_is_shared_at_once(pools, inventory):
    """Devices of foreign pods are not granted until those pods end; a new node counts at once."""
    placing = Placement(inventory)
    one = PoolRef("ns", "a")
    inventory.see_pod(pod_on("n"))
    assert placing.place(pools, news=(), now=0.0, at=0.0)[one].placeable == GPUS - 1
    inventory.see_pod(pod_on("n"), gone=True)
    assert placing.place(pools, news=(), now=1.0, at=1.0)[one].placeable == GPUS
    inventory.see_node(node("m"))
    assert placing.place(pools, news=(), now=2.0, at=2.0)[one].placeable == 2 * GPUS
    inventory.see_node(node("n"), gone=True)
    assert placing.place(pools, news=(), now=3.0, at=3.0)[one].placeable == GPUS


def test_a_pools_idle_pods_count_as_its_room(pools, inventory):
    """The pod holds a device, and the pool may have as many workers as the node has devices."""
    inventory.see_pod(pod_on("n", "mine", {"agentpool.dev/pool": "a"}))
    granted = Placement(inventory).place(pools, news=(), now=0.0, at=0.0)
    assert placeable(granted) == {"a": GPUS, "b": GPUS}
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
def test_a_pool_without_a_possible_node_shows_the_reason(pools, inventory, spec, why):
    """A full or cordoned node could hold a worker later; a node of a smaller size or a different kind could not."""
    handler = {"handler": {"command": {"argv": ["true"]}}}
    pools.see_pool({"metadata": {"name": "a", "namespace": "ns", "uid": "a"}, "spec": {**handler, **spec}})
    cordoned = node("n") | {"spec": {"unschedulable": True, "taints": [CORDON]}}
    for seen in (node("n"), cordoned):
        inventory.see_node(seen)
        inventory.see_pod(pod_on("n"))
        placing = Placement(inventory)
        placing.place(pools, news=(), now=0.0, at=0.0)
        assert placing.misfit_of(PoolRef("ns", "a")) == why


def deployment(name: str, replicas: int):
    owner = {"uid": name, "controller": True}
    metadata = {"name": name, "namespace": "ns", "uid": f"d-{name}", "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": {"replicas": replicas}}


def pending(name: str, pool: str, **condition):
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "why", **condition}
    metadata = {"name": name, "namespace": "ns", "uid": name, "labels": {"agentpool.dev/pool": pool}}
    metadata["creationTimestamp"] = "1970-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": {}, "status": {"phase": "Pending", "conditions": [condition]}}


@pytest.fixture
def refused(pools, inventory):
    """Pool `a` has four jobs and four workers, of which the scheduler places a single worker; `b` waits for devices."""
    running = pod_on("n", "a-0", {"agentpool.dev/pool": "a"})
    inventory.see_pod(running)
    pools.see_deployment(deployment("a", 4))
    for one in (running, *(pending(f"a-{number}", "a") for number in range(1, 4))):
        pools.see_pod(one)
    for name in ("a", "b"):
        waiting(pools, name, GPUS)
    return Placement(inventory)


def test_refused_workers_pass_their_claim_to_the_next_pool(pools, refused):
    """An unknown filter shows in the Pending pods: the next pool gets the devices that those pods claim."""
    everyone = {pool.ref for pool in pools}
    assert placeable(refused.place(pools, news=everyone, now=1.0, at=1.0))["a"] == GPUS // 2
    assert placeable(refused.place(pools, news=everyone, now=20.0, at=20.0)) == {"a": 1, "b": GPUS - 1}
    assert refused.refusal_of(PoolRef("ns", "a")) == "why"


def test_a_refusal_is_tested_by_a_single_worker_after_a_pause(pools, refused, inventory):
    """The limit lasts as long as the refusal, and ends with a new node."""
    everyone = {pool.ref for pool in pools}
    refused.place(pools, news=everyone, now=20.0, at=20.0)
    for number in range(1, 4):
        pools.see_pod(pending(f"a-{number}", "a"), gone=True)
    pools.see_deployment(deployment("a", 1))

    def granted(now):
        return placeable(refused.place(pools, news=everyone, now=now, at=now))["a"]

    assert granted(40.0) == 1
    assert granted(51.0) == 2
    inventory.see_node(node("m"))
    assert granted(52.0) > 2


def test_a_gated_worker_is_not_refused(pools, inventory):
    """The scheduler has not tried the worker: the claim stays."""
    pools.see_deployment(deployment("a", 1))
    pools.see_pod(pending("a-0", "a", reason="SchedulingGated"))
    waiting(pools, "a", 1)
    grant = Placement(inventory).place(pools, news=(), now=60.0, at=60.0)[PoolRef("ns", "a")]
    assert (grant.placeable, grant.kept) == (GPUS, 1)


def test_a_pool_that_the_scheduler_never_places_shows_the_reason(pools, inventory):
    """The scheduler's own words explain a size of 0."""
    pools.see_deployment(deployment("a", 1))
    pools.see_pod(pending("a-0", "a"))
    placing = Placement(inventory)
    placing.place(pools, news=(), now=60.0, at=60.0)
    assert placing.misfit_of(PoolRef("ns", "a")) == "the scheduler places no worker: why"


def test_the_live_template_gives_the_shape(pools, inventory):
    """While a change is refused, the running workers count with the shape of the earlier template."""
    live = deployment("a", 0)
    container = {"name": "worker", "resources": {"limits": {"nvidia.com/gpu": "4"}}}
    live["spec"]["template"] = {"spec": {"containers": [container]}}
    pools.see_deployment(live)
    assert placeable(Placement(inventory).place(pools, news=(), now=0.0, at=0.0))["a"] == 1
