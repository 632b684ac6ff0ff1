"""What Prometheus reads of pools: what is known now, and nothing that was true once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.spec.scaling import Gpu
from agentpool_operator.metrics import Metrics
from agentpool_operator.pools.pool import Room
from agentpool_operator.pools.registry import Pools
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
    """Its last ones would go on for ever, and an alert with them; that it cannot be read is told."""
    metrics = Metrics()
    pool.queue.backlog = Backlog()
    metrics.record_decision(pool, DECISION, before=1)
    assert shown(metrics) > OF_QUEUE
    pool.queue.backlog = None
    metrics.record_decision(pool, DECISION, before=1)
    assert not shown(metrics) & OF_QUEUE
    assert metrics.registry.get_sample_value("agentpool_pool_queue_reachable", {"namespace": "ns", "pool": "p"}) == 0


def test_a_pool_tells_its_target_while_it_pursues_one_and_its_room_while_it_asks(pool):
    """A paused pool lets its jobs wait on purpose; where no devices are asked for, the room for them is not known."""
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


def test_who_stands_down_shows_no_pool_and_shows_it_again_when_he_leads_again(pool):
    """Beside the true figures of the one that leads, old ones would win in a maximum."""
    metrics = Metrics()
    pool.queue.backlog = Backlog()
    metrics.record_decision(pool, DECISION, before=1)
    before = shown(metrics)
    metrics.stand_down()
    assert shown(metrics) == set()
    metrics.record_decision(pool, DECISION, before=1)
    assert shown(metrics) == before
