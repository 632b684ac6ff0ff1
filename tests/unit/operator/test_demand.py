"""The slots and workers that a backlog needs."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict

import pytest

from agentpool_core.queue.load import RouteLoad
from agentpool_operator.scaling.demand import Demand, add_replacements, demand, whole_workers
from agentpool_operator.scaling.observation import Backlog
from agentpool_operator.scaling.policy import ScalingPolicy

POLICY = ScalingPolicy(concurrency=5, max_replicas=20, target_wait_s=5.0)
NOTHING = {
    "running": 0, "ready": 0, "slots": 0, "reacting": 0, "foreseen": 0, "warm": 0, "warm_is_sure": True, "expected": 0,
    "startup_s": 0.0, "recent": 0, "recent_s": 0.0, "out_of_service": 0, "held_back": 0, "held": 0, "bounds": (),
    "divided": False,
}  # fmt: skip


def of(ready=0, running=0, *, service_s=None, draining=0, target_wait_s=5.0) -> Demand:
    backlog = Backlog(routes=(RouteLoad(name="r", ready=ready, running=running),))
    policy = ScalingPolicy(concurrency=5, max_replicas=20, target_wait_s=target_wait_s)
    return demand(backlog, policy, service_s, draining=draining)


def test_an_empty_backlog_demands_nothing():
    """No field has a demand of its own, and no later step finds one."""
    assert asdict(of()) == NOTHING
    assert of().workers == 0
    with pytest.raises(FrozenInstanceError):
        of().reacting = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("service_s", "target_wait_s", "slots"),
    [
        (None, 5.0, 100),
        (0.5, 5.0, 10),
        (0.51, 5.0, 11),
        (0.5, 1.0, 50),
        (0.5, 0.5, 100),
        (9.0, 5.0, 100),
        (0.5, 0.0, 100),
    ],
)
def test_waiting_jobs_need_slots_to_start_within_the_target(service_s, target_wait_s, slots):
    """Without a service time or a target each job needs a slot, and never more than one."""
    found = of(ready=100, service_s=service_s, target_wait_s=target_wait_s)
    assert (found.slots, found.ready, found.reacting) == (slots, 100, -(-slots // 5))


def test_running_jobs_count_in_full_but_for_those_of_ending_pods():
    """More jobs on ending pods than run, as seen a moment apart, count as all of them."""
    assert (of(running=7).running, of(running=7).slots) == (7, 7)
    assert (of(running=7, draining=3).running, of(running=7, draining=9).running) == (4, 0)


def test_jobs_beyond_the_limit_of_their_route_are_held_back():
    """They need no slot until a running job has ended."""
    found = demand(Backlog(routes=(RouteLoad(name="r", limit=4, ready=5, running=1),)), POLICY, None)
    assert (found.slots, found.held_back, found.divided) == (4, 2, False)


@pytest.mark.parametrize(("slots", "workers"), [(0, 0), (1, 1), (5, 1), (6, 2), (10, 2), (11, 3)])
def test_a_part_of_a_worker_is_a_worker(slots, workers):
    """Slots are rounded up to workers; a rounding error of a whole number is no worker."""
    assert whole_workers(slots, POLICY) == workers
    assert whole_workers(slots, ScalingPolicy(concurrency=0.0, max_replicas=20)) == slots
    assert whole_workers(9, ScalingPolicy(concurrency=2.9999999, max_replicas=20)) == 3


def test_workers_out_of_service_are_replaced_only_where_jobs_need_workers():
    """A pool without jobs keeps its broken worker, and a sound pool gets no other demand."""
    need = of(ready=12)
    assert add_replacements(need, 0) is need
    assert (add_replacements(need, 2).reacting, add_replacements(need, 2).out_of_service) == (5, 2)
    assert add_replacements(of(), 2) == of()
