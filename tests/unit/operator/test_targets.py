"""Target waits of priorities: the present target of a mixture of jobs, and the size that follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.jobs import Priority
from agentpool_core.queue.load import RouteBound, RouteLoad
from agentpool_operator.scaling.decide import decide
from agentpool_operator.scaling.memory import Learned, PoolMemory
from agentpool_operator.scaling.observation import Backlog, Counters, Observation
from agentpool_operator.scaling.policy import Behavior, ScalingPolicy, ScalingRules, WaitTarget
from agentpool_operator.scaling.targets import with_present_target

CRITICAL = WaitTarget(priority=Priority.CRITICAL, percentile=100, wait_s=2.0)
INFO = WaitTarget(priority=Priority.INFO, percentile=90, wait_s=600.0)
POLICY = ScalingPolicy(
    concurrency=5,
    max_replicas=50,
    target_wait_s=5.0,
    targets=(CRITICAL, INFO),
    behavior=Behavior(down=ScalingRules(stabilization_s=0)),
)
SETTLED = PoolMemory(since=-3600.0, last_busy_at=-3600.0)
TEN_SECONDS = Counters(finished=100, run_s=1000.0)  # the run time of a job
KNOWN = Learned(at=0.0, busy_s=1000.0, ended=100.0, counters=TEN_SECONDS)


def route(name="default", *, limit=None, running=0, paused=False, **queued):
    by_priority = {Priority(priority): count for priority, count in queued.items()}
    return RouteLoad(
        name=name, limit=limit, running=running, paused=paused, ready=sum(queued.values()), queued=by_priority
    )


def decided(*routes, policy=POLICY, memory=SETTLED, **seen):
    backlog = Backlog(routes=routes, counters=TEN_SECONDS, **seen)
    return decide(Observation(replicas=0, backlog=backlog), policy, memory, 0.0)


@pytest.mark.parametrize(
    ("queued", "slots"),
    [
        ({"info": 600}, 9),  # 540 jobs of 10 s within 600 s
        ({"critical": 3}, 3),  # a slot each
        ({"critical": 3, "info": 100}, 3),  # the info jobs need 93 starts within 600 s
        ({"critical": 40, "info": 6000}, 91),  # the info jobs need more: 5,440 starts within 600 s
        ({"task": 4, "info": 60}, 4),
    ],
)
def test_the_most_demanding_priority_decides(queued, slots):
    """A priority needs its share of jobs, and all jobs before them, started within its target."""
    policy = replace(POLICY, concurrency=1, max_replicas=1000)
    assert decided(route(**queued), policy=policy, memory=replace(SETTLED, learned=KNOWN)).wanted == slots


def test_the_reason_names_the_target_that_decides():
    """The words give priority, percentile and wait."""
    assert "5 slots for the target of info (90 % within 600 s)" in decided(route(info=600)).reason
    assert "for the target of critical (100 % within 2 s)" in decided(route(critical=3, info=600)).reason
    assert "for the target of task (100 % within 5 s)" in decided(route(task=3)).reason
    assert "target" not in decided(route(task=3), policy=replace(POLICY, targets=())).reason


def test_jobs_that_a_limit_holds_back_have_no_part():
    """A thousand info jobs behind a full route do not dilute the target of three critical jobs."""
    held = route("full", limit=2, running=2, info=1000)
    assert decided(held, route(critical=3)).replicas == decided(route(critical=3)).replicas
    backlog = Backlog(routes=(route("full", info=1000),), bounds=(RouteBound(name="money", routes=(), free=0),))
    policy, memory = with_present_target(POLICY, backlog, SETTLED)
    assert (policy.target_wait_s, memory.target) == (5.0, None)


def test_the_target_of_the_last_jobs_stays_while_none_waits():
    """Workers are kept for jobs such as the last, not for the default target."""
    policy, memory = with_present_target(POLICY, Backlog(routes=(route(info=10),)), SETTLED)
    assert policy.target_wait_s == pytest.approx(10 / 9 * 600)
    policy, _ = with_present_target(POLICY, Backlog(), memory)
    assert policy.target_wait_s == pytest.approx(10 / 9 * 600)


def test_jobs_of_lost_workers_and_due_jobs_count_as_tasks():
    """Their priorities are not known, and the middle one applies."""
    backlog = Backlog(routes=(RouteLoad(name="(due)", ready=2),), lost=1)
    assert with_present_target(POLICY, backlog, SETTLED)[0].target_wait_s == 5.0
