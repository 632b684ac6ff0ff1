"""Findings of the doctor, from given readings."""

from __future__ import annotations

import pytest

from agentpool_core.doctor import cluster, pool, redis
from agentpool_core.doctor.findings import Level
from agentpool_core.jobs import Durability, Priority
from agentpool_core.queue.snapshots import RouteSnapshot
from agentpool_core.spec.crd import custom_resource_definition
from tests.fixtures.snapshots import snapshot_with


def test_durability_is_judged_by_the_append_only_file():
    """A disabled append-only file is a warning with the command that enables the file; a failing write is a failure."""
    off = redis.check_durability({"aof_enabled": 0, "rdb_last_save_time": 1})
    assert off.level is Level.WARNING
    assert "appendonly yes" in (off.remedy or "")
    assert redis.check_durability({"aof_enabled": 1}).level is Level.OK
    assert redis.check_durability({"aof_enabled": 1, "aof_last_write_status": "err"}).level is Level.FAILURE


@pytest.mark.parametrize(
    ("wanted", "info", "level", "words"),
    [
        ("fsync", {"aof_enabled": 0}, "failure", "is Fsync, and the append-only file is off: every submit"),
        ("fsync", {"aof_enabled": 1}, "ok", "is Fsync"),
        ("fsync", {}, "ok", "is Fsync"),  # a user who may not ask
        ("replica", {"connected_slaves": 0}, "failure", "is Replica, and no replica is connected: every submit"),
        ("replica", {"connected_slaves": 1}, "ok", "is Replica"),
        ("replica", {"connected_slaves": 0, "cluster_enabled": 1}, "ok", "is Replica"),
    ],
)
def test_a_durability_that_the_server_cannot_confirm_is_a_failure(wanted, info, level, words):
    """Each submit that leaves the choice to the pool is refused: the finding has the setting and both remedies."""
    finding = redis.check_confirmation(info, Durability(wanted))
    assert finding is not None
    assert (finding.level, words in finding.found) == (level, True)
    assert (finding.remedy is None) == (level == "ok")
    assert redis.check_confirmation(info, Durability.LOCAL) is None


def test_eviction_that_would_drop_jobs_is_a_failure():
    """With a limit and allkeys-lru Redis evicts jobs, a failure; with noeviction Redis keeps every job."""
    assert redis.check_eviction({"maxmemory_policy": "noeviction"}).level is Level.OK
    assert redis.check_eviction({"maxmemory_policy": "allkeys-lru", "maxmemory": 1}).level is Level.FAILURE
    assert redis.check_eviction({"maxmemory_policy": "volatile-ttl", "maxmemory": 1}).level is Level.WARNING
    assert redis.check_eviction({}).level is Level.NOTE


def test_a_replica_and_a_full_server_have_a_remedy():
    """Both findings carry a remedy."""
    assert redis.check_role({"role": "slave"}).level is Level.FAILURE
    full = redis.check_memory({"maxmemory": 100, "used_memory": 90})
    assert full is not None
    assert full.level is Level.WARNING
    assert redis.check_memory({"used_memory": 90}) is None


def test_an_older_crd_is_noticed_by_its_missing_fields():
    """The installed schema is compared by its fields, not by its text."""
    ours = custom_resource_definition()
    assert cluster.crd_finding(ours, ours).level is Level.OK
    older = custom_resource_definition()
    del older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["gpu"]
    finding = cluster.crd_finding(older, ours)
    assert finding.level is Level.WARNING
    assert "spec.gpu" in finding.found


def test_gpus_are_listed_by_node():
    """Extended resources of any vendor count; a cordoned node has a mark."""
    nodes = [
        {"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "4", "nvidia.com/gpu": "2"}}},
        {"metadata": {"name": "b"}, "spec": {"unschedulable": True}, "status": {"allocatable": {"amd.com/gpu": "1"}}},
        {"metadata": {"name": "c"}, "status": {"allocatable": {"nvidia.com/gpu": "0"}}},
    ]
    assert cluster.gpu_finding(nodes).found == "a: 2 nvidia.com/gpu; b: 1 amd.com/gpu (cordoned)"
    assert cluster.gpu_finding([]).level is Level.NOTE


async def test_a_pool_that_is_not_ready_is_a_failure_after_its_set_up():
    """The finding repeats the condition's message; a pool in set-up is a warning only."""

    class Api:
        async def agentpools(self):
            reported = (("True", "Serving"), ("False", "CrashLoopBackOff"), ("False", "Creating"))
            return [
                {
                    "metadata": {"namespace": "ns", "name": reason.lower()},
                    "status": {"conditions": [{"type": "Ready", "status": s, "reason": reason, "message": "because"}]},
                }
                for s, reason in reported
            ]

    _, ill, on_its_way = await cluster.agentpools(Api())
    assert (ill.check, ill.level, ill.found) == (
        "agentpool ns/crashloopbackoff",
        Level.FAILURE,
        "CrashLoopBackOff: because",
    )
    assert (on_its_way.level, on_its_way.found) == (Level.WARNING, "Creating: because")


async def test_a_pool_that_no_operator_serves_may_be_outside_its_namespaces():
    """The operator of a shared cluster may serve other namespaces."""

    class Api:
        async def agentpools(self):
            return [{"metadata": {"namespace": "other", "name": "p"}}]

    _, unserved = await cluster.agentpools(Api())
    assert (unserved.found, unserved.level) == ("no status yet", Level.WARNING)
    assert "watchNamespaces" in unserved.remedy


def test_the_queue_of_a_deleted_pool_is_named_with_the_remedies():
    """The queue is kept and accepts no jobs; the other checks skip the queue."""
    finding = pool.check_retired(snapshot_with(retired=True))
    assert finding is not None
    assert finding.level is Level.WARNING
    assert "deletionPolicy: Delete" in finding.remedy
    assert pool.check_retired(snapshot_with()) is None


def test_jobs_without_a_worker_are_a_failure():
    """The finding has the number of waiting jobs."""
    route = RouteSnapshot(name="default", limit=None, queued={Priority.TASK: 1}, running=0)
    finding = pool.check_workers(snapshot_with(routes=(route,)))
    assert (finding.level, finding.found) == (Level.FAILURE, "none; waiting: 1 job")
