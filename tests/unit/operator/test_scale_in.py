"""Selection of workers for removal, and the time of the lower size: the pure part of scale-in."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.queue.snapshots import WorkerSnapshot
from agentpool_operator.pools.registry import Pools
from agentpool_operator.pools.views import DELETION_COST, GOING_COST
from agentpool_operator.queue.reader import backlog_of
from agentpool_operator.scale_loop.scale_in import count_removable, plan_removal
from tests.fixtures.snapshots import snapshot_with

REF = PoolRef("ns", "p")


def deployment(replicas, *, total=None, updated=None, generation=1, observed=1):
    total = replicas if total is None else total
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "d", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {
            "observedGeneration": observed,
            "replicas": total,
            "updatedReplicas": total if updated is None else updated,
        },
    }


def pod(name, *, ready=True, cost=None):
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:01Z"}
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": name,
            "labels": {"agentpool.dev/pool": "p"},
            "annotations": {} if cost is None else {DELETION_COST: str(cost)},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "status": {"conditions": [condition]},
    }


def snapshot(cordoned=(), **running):
    workers = tuple(
        WorkerSnapshot(name=name, slots=5, running=held, host="-", lease_expires_at_ms=10)
        for name, held in running.items()
    )
    return snapshot_with(workers=workers, settings_revision="r", cordoned=frozenset(cordoned))


@pytest.fixture
def pool_of():
    def make(body, *pods, seen=None):
        pools = Pools()
        handler = {"command": {"argv": ["true"]}}
        metadata = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
        pools.see_pool({"metadata": metadata, "spec": {"handler": handler}})
        pools.see_deployment(body)
        for each in pods:
            pools.see_pod(each)
        pool = pools.get(REF)
        pool.queue.snapshot = seen or snapshot()
        pool.queue.backlog = backlog_of(pool.snapshot)
        return pool

    return make


def names(pods):
    return [each.name for each in pods]


def test_unready_workers_leave_first_then_workers_with_few_jobs(pool_of):
    """A ReplicaSet removes unready pods first, so the operator selects those first, then the least busy workers."""
    pool = pool_of(deployment(4), pod("a"), pod("b"), pod("c"), pod("d", ready=False), seen=snapshot(a=2, b=1, c=0))
    plan = plan_removal(pool, pool.deployment, 1)
    assert names(plan.leaving) == ["d", "c", "b"]
    assert plan.settled


def test_unready_pods_are_cordoned_beside_the_selected_pods(pool_of):
    """Any unready pod may be removed in place of a selected pod, so none of them may begin a job."""
    pool = pool_of(deployment(3), pod("a"), pod("b", ready=False), pod("c", ready=False))
    plan = plan_removal(pool, pool.deployment, 2)
    assert len(plan.leaving) == 1
    assert set(names(plan.cordoned)) == {"b", "c"}


def test_only_idle_workers_count_as_removable(pool_of):
    """The size falls by the number of idle workers; busy workers finish first."""
    pool = pool_of(deployment(3), pod("a"), pod("b"), pod("c"), seen=snapshot(a=1, b=1))
    plan = plan_removal(pool, pool.deployment, 0)
    assert count_removable(plan, {"a": 1, "b": 0, "c": 0}, pool.deployment, surplus=3) == 2


def test_an_unready_busy_pod_forbids_lowering(pool_of):
    """A ReplicaSet would remove the pod before any idle pod."""
    pool = pool_of(deployment(2), pod("a", ready=False), pod("b"))
    plan = plan_removal(pool, pool.deployment, 1)
    assert count_removable(plan, {"a": 1}, pool.deployment, surplus=1) == 0


def test_a_rollout_forbids_lowering_unless_all_are_idle(pool_of):
    """With two ReplicaSets the removed pod is not predictable."""
    pool = pool_of(deployment(2, updated=1), pod("a"), pod("b"))
    plan = plan_removal(pool, pool.deployment, 1)
    assert count_removable(plan, {"a": 0, "b": 0}, pool.deployment, surplus=1) == 0
    plan = plan_removal(pool, pool.deployment, 0)
    assert count_removable(plan, {"a": 0, "b": 0}, pool.deployment, surplus=2) == 2


def test_a_marked_pod_stays_cordoned_until_the_controllers_follow(pool_of):
    """After lowering, the marked pod keeps its cordon though more workers are needed again."""
    pool = pool_of(deployment(1, total=2), pod("a"), pod("b", cost=GOING_COST))
    plan = plan_removal(pool, pool.deployment, 2)
    assert (names(plan.cordoned), plan.settled) == (["b"], False)
    assert names(plan_removal(pool, pool.deployment, 1).leaving) == ["b"]


def test_a_size_that_no_controller_has_observed_is_not_settled(pool_of):
    """Until the controller has observed the generation, pods may still be removed by the earlier size."""
    pool = pool_of(deployment(2, generation=5, observed=4), pod("a"), pod("b", cost=GOING_COST))
    plan = plan_removal(pool, pool.deployment, 2)
    assert (names(plan.cordoned), plan.settled) == (["b"], False)


def test_pods_that_do_not_exist_yet_count_as_idle(pool_of):
    """A size that was never filled falls to the target once every existing worker is idle."""
    pool = pool_of(deployment(5), pod("a"))
    plan = plan_removal(pool, pool.deployment, 0)
    assert count_removable(plan, {"a": 0}, pool.deployment, surplus=5) == 5
