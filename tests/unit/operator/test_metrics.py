"""Prometheus reads the present state of pools, and no outdated figure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from agentpool_core.jobs import BudgetUse, PoolRef, Priority
from agentpool_core.queue.limits import LimitBy
from agentpool_core.queue.snapshots import LimitSnapshot, QueueSnapshot, RouteSnapshot
from agentpool_core.queue.tenant_waits import TenantWait
from agentpool_core.spec.scaling import Gpu
from agentpool_core.spec.worker import Worker
from agentpool_operator.metrics import Metrics
from agentpool_operator.pools.pool import Room
from agentpool_operator.pools.registry import Pools
from agentpool_operator.queue.reader import NAMED_TENANTS, by_known_tenant
from agentpool_operator.queue_metrics import QueueMetrics
from agentpool_operator.scaling.decision import Cap, Decision, Mode
from agentpool_operator.scaling.memory import PoolMemory
from agentpool_operator.scaling.observation import Backlog

OF_QUEUE = {"agentpool_pool_queued_jobs", "agentpool_pool_running_jobs", "agentpool_pool_oldest_wait_seconds"}
DECISION = Decision(
    mode=Mode.AUTOMATIC, replicas=1, keep=1, wanted=1, capped_by=Cap.NONE, reason="because", memory=PoolMemory()
)


@pytest.fixture
def pool():
    pools = Pools()
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    pools.see_pool({"metadata": metadata, "spec": {"handler": {"command": {"argv": ["true"]}}}})
    return pools.get(PoolRef("ns", "p"))


def shown(metrics):
    """The names of a pool's gauges that have a series."""
    return {
        sample.name
        for family in metrics.registry.collect()
        for sample in family.samples
        if family.type == "gauge" and "pool" in sample.labels
    }


def test_a_queue_that_cannot_be_read_has_no_figures(pool):
    """The last figures would stay for ever, and an alert with them; a gauge reports the failed reading."""
    metrics = Metrics()
    pool.queue.backlog = Backlog()
    metrics.record_decision(pool, DECISION, before=1)
    assert shown(metrics) > OF_QUEUE
    pool.queue.backlog = None
    metrics.record_decision(pool, DECISION, before=1)
    assert not shown(metrics) & OF_QUEUE
    assert metrics.registry.get_sample_value("agentpool_pool_queue_reachable", {"namespace": "ns", "pool": "p"}) == 0


def test_a_pool_shows_its_target_and_its_room_only_when_they_apply(pool):
    """A paused pool has no wait target; without devices the room is unknown."""
    metrics = Metrics()
    names = {"namespace": "ns", "pool": "p"}
    pool.declared = replace(pool.declared, spec=pool.spec.model_copy(update={"gpu": Gpu()}))
    pool.room = Room(placeable=2)
    metrics.record_decision(pool, DECISION, before=1)
    assert metrics.registry.get_sample_value("agentpool_pool_target_wait_seconds", names) == 5
    assert metrics.registry.get_sample_value("agentpool_pool_placeable_workers", names) == 2
    pool.declared = replace(pool.declared, spec=pool.spec.model_copy(update={"paused": True, "gpu": None}))
    metrics.record_decision(pool, DECISION, before=1)
    assert not shown(metrics) & {"agentpool_pool_target_wait_seconds", "agentpool_pool_placeable_workers"}


def test_a_former_leader_shows_no_pool_until_the_next_term(pool):
    """Old figures beside the leader's figures would win in a maximum."""
    metrics = Metrics()
    pool.queue.backlog = Backlog()
    metrics.record_decision(pool, DECISION, before=1)
    before = shown(metrics)
    metrics.stand_down()
    assert shown(metrics) == set()
    metrics.record_decision(pool, DECISION, before=1)
    assert shown(metrics) == before


COUNTS = dict.fromkeys(("scheduled", "blocked", "dead", "submitted_total", "started_total", "finished_total"), 0)


def snapshot(**fields):
    """Return a reading of a queue."""
    return QueueSnapshot(
        taken_at_ms=0, oldest_wait_ms=None, workers=(), run_ms_total=0, paused=False, settings_revision="",
        **{"routes": (), **COUNTS, **fields},
    )  # fmt: skip


def test_the_demand_for_other_autoscalers_has_what_limits_allow(pool):
    """Workers for running jobs and for those that may start, by the slots of a worker; a pause starts none."""
    pool.declared = replace(pool.declared, spec=pool.spec.model_copy(update={"worker": Worker(concurrency=2)}))
    registry = CollectorRegistry()
    registry.register(QueueMetrics([pool], leading=lambda: True))
    names = {"namespace": "ns", "pool": "p"}
    route = RouteSnapshot(name="default", limit=7, queued={Priority.TASK: 50}, running=3)
    for paused, workers in ((False, 4), (True, 2)):
        pool.queue.snapshot = replace(snapshot(routes=(route,)), paused=paused)
        assert registry.get_sample_value("agentpool_pool_demanded_workers", names) == workers


def test_a_budget_for_all_jobs_shows_its_money(pool):
    """A budget by tenant has no series: tenants are without number."""
    money = BudgetUse(limit="today", amount=100, spent=2.5, resets_at_ms=0)
    fields = {"text": "", "routes": None, "free": None, "interval_ms": None}
    limits = (
        LimitSnapshot(name="today", by=None, waiting=3, budget=money, **fields),
        LimitSnapshot(name="each", by=LimitBy.TENANT, waiting=1, **fields),
    )
    pool.queue.snapshot = snapshot(limits=limits)
    metrics = Metrics()
    metrics.registry.register(QueueMetrics([pool], leading=lambda: True))
    of_limits = {
        (sample.name.removeprefix("agentpool_pool_"), sample.labels["limit"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if "limit" in sample.labels
    }
    assert of_limits == {
        ("limit_waiting_jobs", "today"): 3, ("limit_waiting_jobs", "each"): 1,
        ("budget_spent", "today"): 2.5, ("budget_amount", "today"): 100,
    }  # fmt: skip


def test_tenants_cannot_flood_the_metrics():
    """The first tenants keep their names; of all later ones, the longest wait counts as `other`."""
    known: set[str] = set()
    for number in range(NAMED_TENANTS):
        assert by_known_tenant([TenantWait(tenant=f"t{number}", ms=1_000)], known) == {f"t{number}": 1.0}
    waits = [TenantWait(tenant=name, ms=ms) for name, ms in (("new", 4_000), ("t3", 3_000), ("newer", 2_000))]
    assert by_known_tenant(waits, known) == {"other": 4.0, "t3": 3.0}
    assert len(known) == NAMED_TENANTS
