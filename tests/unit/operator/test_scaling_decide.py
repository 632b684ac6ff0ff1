"""The decision: bounds, running work, idleness, modes, words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.queue.load import RouteBound, RouteLoad
from agentpool_operator.scaling.decide import decide, demanded_workers, record_outcome
from agentpool_operator.scaling.decision import Cap, Decision, Mode
from agentpool_operator.scaling.demand import Demand
from agentpool_operator.scaling.memory import Arrival, Change, Learned, PoolMemory, PresentTarget, Recommendation
from agentpool_operator.scaling.observation import Backlog, Counters, Observation, PodState, WorkerLoad
from agentpool_operator.scaling.policy import Behavior, ScalingPolicy, ScalingRules
from agentpool_operator.scaling.reason_text import demand_words

AT_ONCE = Behavior(down=ScalingRules(stabilization_s=0))
POLICY = ScalingPolicy(concurrency=5, max_replicas=20, idle_s=10, behavior=AT_ONCE)
SETTLED = PoolMemory(since=-3600.0, last_busy_at=-3600.0)  # the operator has been up for an hour


def backlog(ready=0, running=0, *, limit=None, workers=()):
    route = RouteLoad(name="default", limit=limit, ready=ready, running=running)
    return Backlog(routes=(route,), workers=tuple(workers))


def decided(
    ready=0, running=0, *, replicas=0, policy=POLICY, memory=SETTLED, now=0.0, limit=None, workers=(), **seen
) -> Decision:
    observation = Observation(replicas=replicas, backlog=backlog(ready, running, limit=limit, workers=workers), **seen)
    return decide(observation, policy, memory, now)


def unread(*, replicas, policy=POLICY, unread_s=60.0, **seen) -> Decision:
    observation = Observation(replicas=replicas, backlog=None, unread_s=unread_s, **seen)
    return decide(observation, policy, SETTLED, 0.0)


@pytest.mark.parametrize(
    ("replicas", "bounds", "size"),
    [(0, (2, 4), 2), (4, (0, 1), 1), (4, (6, 8), 6), (4, (0, 8), 4)],
)
def test_bounds_are_obeyed_while_the_queue_cannot_be_read(replicas, bounds, size):
    """Without a reading the size is held within minReplicas and maxReplicas."""
    decision = unread(replicas=replicas, policy=replace(POLICY, min_replicas=bounds[0], max_replicas=bounds[1]))
    assert (decision.replicas, decision.mode) == (size, Mode.HOLD)
    assert decision.reason.startswith("the queue cannot be read")


def test_a_pause_is_obeyed_while_the_queue_cannot_be_read():
    """A paused pool without a reading stops its workers."""
    decision = unread(replicas=4, policy=replace(POLICY, paused=True, min_replicas=2))
    assert (decision.replicas, decision.mode) == (0, Mode.PAUSED)


def test_a_short_outage_removes_no_worker():
    """Within the first seconds of an outage, workers that may be busy stay, and missing workers are added."""
    for policy in (replace(POLICY, paused=True), replace(POLICY, max_replicas=1)):
        assert unread(replicas=4, policy=policy, unread_s=1.0).replicas == 4
    assert unread(replicas=1, policy=replace(POLICY, min_replicas=3), unread_s=1.0).replicas == 3


def test_without_a_reading_minreplicas_obeys_the_room_on_the_nodes():
    """The bound of an unread pool obeys the room on the nodes."""
    assert unread(replicas=0, policy=replace(POLICY, min_replicas=6), placeable=2).replicas == 2


def test_jobs_on_ending_pods_ask_for_no_worker():
    """Draining workers finish their jobs; new workers would be idle beside them."""
    assert decided(running=4, replicas=0, draining=4).replicas == 0
    assert decided(ready=5, running=9, replicas=1, draining=4).replicas == 2


def test_jobs_of_lost_workers_wait():
    """Their routes count them as running, and no worker runs them."""
    lost = replace(backlog(running=2), lost=2)
    assert (lost.ready, lost.running) == (2, 0)
    seen = Observation(replicas=0, backlog=lost)
    assert decide(seen, POLICY, SETTLED, 0.0).replicas == 1


def test_a_fallen_reading_of_the_nodes_removes_no_worker():
    """Capacity limits growth: workers that run or start stay, and no worker is added."""
    policy = replace(POLICY, min_replicas=2, concurrency=1)
    assert decided(replicas=2, policy=policy, placeable=0, kept=2).replicas == 2
    grown = decided(ready=8, replicas=2, policy=policy, placeable=0, kept=2)
    assert (grown.replicas, grown.capped_by) == (2, Cap.GPU_CAPACITY)


def test_the_first_job_of_an_empty_pool_requests_a_worker_at_once():
    """The operator may have just started."""
    assert decided(ready=1, memory=PoolMemory()).replicas == 1


@pytest.mark.parametrize(("ready", "running", "workers"), [(5, 0, 1), (6, 0, 2), (7, 4, 3), (0, 5, 1), (0, 6, 2)])
def test_a_slot_for_each_job_while_the_service_time_is_unknown(ready, running, workers):
    """Every running and waiting job counts a slot while nothing is known of the service time."""
    assert decided(ready, running).replicas == workers


def test_workers_are_counted_for_the_mixture_of_sizes():
    """Of 80 GiB, one job of 45 GiB takes a worker; of ten slots, a job of five takes half of one."""
    big = RouteLoad(name="big", ready=2, running=1, gpu_memory_mib=45)
    small = RouteLoad(name="small", ready=20, gpu_memory_mib=8)
    wide = RouteLoad(name="wide", ready=1, slots=5)
    policy = replace(POLICY, concurrency=10, gpu_memory_mib=80)

    def workers(*routes):
        return decide(Observation(replicas=0, backlog=Backlog(routes=routes)), policy, SETTLED, 0.0).replicas

    assert [workers(big), workers(small), workers(wide), workers(big, small, wide)] == [3, 2, 1, 6]
    assert workers(RouteLoad(name="plain", ready=21)) == 3


def test_running_jobs_share_the_workers_of_the_mixture():
    """Four large jobs take a worker each, and four small ones, of ten that a worker has room for, a part of a fifth."""
    big = RouteLoad(name="big", ready=1, running=3, gpu_memory_mib=45)
    small = RouteLoad(name="small", ready=4, gpu_memory_mib=8)
    policy = replace(POLICY, concurrency=10, gpu_memory_mib=80)
    assert decide(Observation(replicas=3, backlog=Backlog(routes=(big, small))), policy, SETTLED, 0.0).replicas == 5


def test_a_pool_claims_the_capacity_that_it_would_use():
    """When capacity is shared, a manual size, a pause, and an unread queue count as they are; else the demand."""

    def claimed(ready=0, policy=POLICY, *, read=True):
        seen = Observation(replicas=3, backlog=backlog(ready) if read else None, unread_s=60.0)
        return demanded_workers(seen, policy, SETTLED, 0.0)

    assert [claimed(0), claimed(50), claimed(5_000)] == [0, 10, 20]
    assert claimed(0, replace(POLICY, min_replicas=2)) == 2
    assert claimed(50, replace(POLICY, manual_replicas=7)) == 7
    assert claimed(50, replace(POLICY, paused=True)) == 3
    assert [claimed(read=False), claimed(policy=replace(POLICY, min_replicas=5), read=False)] == [3, 5]


def test_a_target_that_is_no_longer_set_is_no_reason():
    """The memory keeps the last target; a pool without targets does not name it."""
    memory = replace(SETTLED, target=PresentTarget(wait_s=1.0, words="of p95 1 s"))
    assert "p95" not in decided(ready=5, memory=memory).reason


def test_a_known_service_time_sizes_the_pool_by_the_backlog():
    """A hundred jobs of half a second need ten slots to start within five seconds."""
    counters = Counters(finished=100, run_s=50.0)
    seen = Observation(replicas=0, backlog=replace(backlog(ready=100), counters=counters))
    assert decide(seen, POLICY, SETTLED, 0.0).replicas == 2


def test_a_worker_that_takes_no_jobs_is_no_capacity():
    """A replacement covers each worker out of service, within maxReplicas; without jobs no worker is desired."""

    def wanted(ready, *, out_of_service, policy=POLICY):
        seen = Observation(replicas=1, backlog=replace(backlog(ready=ready), out_of_service=out_of_service))
        return decide(seen, policy, SETTLED, 0.0)

    assert wanted(3, out_of_service=0).replicas == 1
    decision = wanted(3, out_of_service=1)
    assert decision.replicas == 2
    assert "1 of them in place of 1 worker out of service" in decision.reason
    assert wanted(3, out_of_service=5, policy=replace(POLICY, max_replicas=2)).replicas == 2
    assert wanted(0, out_of_service=1).wanted == 0


def test_a_full_route_asks_for_no_more_workers():
    """Jobs that their route's limit holds back need no worker, and the decision names the limit."""
    outcome = decided(ready=50, running=2, limit=5)
    assert (outcome.replicas, outcome.capped_by) == (1, Cap.ROUTE_LIMIT)
    assert "for a slot of a route at its limit" in outcome.reason


def test_a_limit_over_routes_asks_for_no_more_workers():
    """Jobs that a limit over two routes holds back ask for no slots, and the reason names the limit."""
    routes = (RouteLoad(name="a", ready=30, running=4), RouteLoad(name="b", ready=30, running=2))
    shared = RouteBound(name="provider", routes=("a", "b"), free=4)
    decision = decide(Observation(replicas=2, backlog=Backlog(routes=routes, bounds=(shared,))), POLICY, SETTLED, 0.0)
    assert (decision.wanted, decision.capped_by) == (2, Cap.ROUTE_LIMIT)
    assert decision.reason.endswith("56 jobs wait for the limit provider")
    slow = replace(shared, free=0, per_s=1.0)
    policy = replace(POLICY, target_wait_s=20.0)
    decision = decide(Observation(replicas=2, backlog=Backlog(routes=routes, bounds=(slow,))), policy, SETTLED, 0.0)
    assert decision.wanted == 6, "20 starts within the target wait, and 6 jobs that run"


def test_jobs_that_a_full_key_will_hold_ask_for_no_workers():
    """Jobs that no claim has reached yet count by the room of their keys, and the reason says so."""
    routes = (RouteLoad(name="a", ready=50, held_back=48, running=2),)
    decision = decide(Observation(replicas=1, backlog=Backlog(routes=routes)), POLICY, SETTLED, 0.0)
    assert (decision.wanted, decision.capped_by) == (1, Cap.ROUTE_LIMIT)
    assert decision.reason.endswith("48 jobs wait for room under limits of their keys, tenants or kinds")


def test_held_jobs_ask_for_no_workers():
    """Jobs that wait for a limit need no slot, and the reason names the limit."""
    decision = decide(Observation(replicas=0, backlog=Backlog(held=50)), POLICY, SETTLED, 0.0)
    assert decision.replicas == 0
    assert "50 jobs wait for a limit, which no worker could start" in decision.reason


def test_a_lowered_limit_never_takes_running_jobs_away():
    """Work in flight beyond a lowered limit still counts in full."""
    assert decided(ready=50, running=12, limit=5).replicas == 3


def test_the_uncapped_demand_is_reported_beside_the_cap():
    """Beyond maxReplicas the size is capped and the demand is reported."""
    outcome = decided(ready=1000)
    assert (outcome.replicas, outcome.wanted, outcome.capped_by) == (20, 200, Cap.MAX_REPLICAS)


def test_a_schedule_holds_an_empty_pool_and_is_named():
    """The minimum of an active schedule counts as minReplicas does, also without a reading of the queue."""
    policy = replace(POLICY, min_replicas=4, schedule="office")
    outcome = decided(replicas=2, policy=policy)
    assert (outcome.replicas, outcome.capped_by) == (4, Cap.SCHEDULE)
    assert outcome.reason.endswith("; the schedule office keeps 4")
    outcome = unread(replicas=0, policy=policy)
    assert (outcome.replicas, outcome.capped_by) == (4, Cap.SCHEDULE)


def test_min_replicas_hold_an_empty_pool():
    """An empty pool keeps minReplicas."""
    outcome = decided(replicas=2, policy=replace(POLICY, min_replicas=2))
    assert (outcome.replicas, outcome.capped_by) == (2, Cap.MIN_REPLICAS)


def test_the_last_worker_stays_through_the_idle_period_and_then_goes():
    """The last worker stays idleSeconds after the last job."""
    memory = replace(SETTLED, last_busy_at=0.0)
    first = decided(replicas=3, memory=memory, now=5.0)
    assert (first.replicas, first.capped_by) == (1, Cap.IDLE_PERIOD)
    assert decided(replicas=1, memory=first.memory, now=10.0).replicas == 0


def test_an_empty_history_never_lowers_before_the_window_is_covered():
    """After a restart the size is not lowered until the history covers the stabilisation window."""
    policy = replace(POLICY, idle_s=0, behavior=Behavior(down=ScalingRules(stabilization_s=60)))
    first = decided(replicas=7, policy=policy, memory=PoolMemory(), now=100.0)
    assert first.replicas == 7
    later = decided(replicas=7, policy=policy, memory=first.memory, now=159.0)
    assert later.replicas == 7
    assert decided(replicas=7, policy=policy, memory=later.memory, now=160.0).replicas == 0


@pytest.mark.parametrize(
    ("current", "jobs", "words"),
    [
        (1, 0, "1 worker kept, because demand was as high within the last 60 s"),
        (1, 50, "1 worker kept, because demand was no higher within the last 30 s"),
    ],
)
def test_the_reason_names_the_window_that_keeps_the_size(current, jobs, words):
    """A sentence for a single worker too, in both directions."""
    rules = Behavior(up=ScalingRules(stabilization_s=30), down=ScalingRules(stabilization_s=60))
    memory = replace(SETTLED, recommendations=(*SETTLED.recommendations, Recommendation(at=90.0, replicas=1)))
    found = decided(jobs, replicas=current, policy=replace(POLICY, idle_s=0, behavior=rules), memory=memory, now=100.0)
    assert words in found.reason


def test_an_unreadable_queue_holds_the_size():
    """Unknown is never zero: the size is held."""
    outcome = decide(Observation(replicas=4, backlog=None), POLICY, SETTLED, 0.0)
    assert (outcome.mode, outcome.replicas) == (Mode.HOLD, 4)


def test_manual_replicas_are_exact_even_when_the_queue_is_unreadable():
    """The size is spec.replicas, for any state of the queue."""
    policy = replace(POLICY, manual_replicas=3)
    assert decide(Observation(replicas=9, backlog=None), policy, SETTLED, 0.0).replicas == 3
    assert decided(ready=500, policy=policy).replicas == 3


def test_a_paused_pool_lets_running_work_finish_and_then_goes_to_zero():
    """A paused pool keeps only its busy workers."""
    policy = replace(POLICY, paused=True)
    busy = WorkerLoad(name="a", slots=5, running=2)
    idle = WorkerLoad(name="b", slots=5, running=0)
    assert decided(90, 2, replicas=2, policy=policy, workers=(busy, idle)).replicas == 1
    assert decided(90, 0, replicas=1, policy=policy, workers=(idle,)).replicas == 0


def test_only_idle_workers_are_removed():
    """Three busy workers of a job each stay, though a single worker could hold their jobs."""
    workers = [WorkerLoad(name=name, slots=5, running=1) for name in "abc"]
    workers.append(WorkerLoad(name="d", slots=5, running=0))
    outcome = decided(0, 3, replicas=4, workers=workers)
    assert (outcome.replicas, outcome.keep, outcome.capped_by) == (3, 1, Cap.RUNNING_WORK)


def test_short_jobs_are_no_excuse_to_take_a_busy_worker():
    """A busy worker stays until its job has ended, however short jobs are."""
    workers = [WorkerLoad(name=name, slots=5, running=1) for name in "ab"]
    seen = replace(backlog(0, 2, workers=workers), counters=Counters(finished=1000, run_s=1.0))
    assert decide(Observation(replicas=2, backlog=seen), POLICY, SETTLED, 0.0).replicas == 2


def test_the_history_holds_the_applied_change():
    """When fewer workers were idle than seen, the history holds the applied change."""
    memory = replace(SETTLED, learned=Learned(at=0.0))
    outcome = decided(replicas=4, memory=memory)
    assert outcome.replicas == 0
    real = record_outcome(outcome, before=4, reached=3)
    assert (real.replicas, real.memory.last_replicas) == (3, 3)
    assert [change.delta for change in real.memory.changes] == [-1]
    assert record_outcome(outcome, before=4, reached=4).memory.changes == ()


def test_every_change_of_size_is_in_the_history():
    """Rate policies count changes: a decision adds its own, and a part that was not reached is taken out again."""
    memory = replace(SETTLED, learned=Learned(at=0.0), changes=(Change(at=-7200.0, delta=9), Change(at=-60.0, delta=1)))
    grown = decided(ready=100, replicas=3, memory=memory)
    assert grown.replicas == 20
    assert [change.delta for change in grown.memory.changes] == [1, 17], "an hour is enough"
    less = record_outcome(grown, before=3, reached=10)
    assert [change.delta for change in less.memory.changes] == [1, 7]
    assert record_outcome(grown, before=3, reached=20) == grown
    steady = decided(ready=100, replicas=20, memory=memory)
    assert [change.delta for change in steady.memory.changes] == [1]
    assert [change.delta for change in record_outcome(steady, before=20, reached=21).memory.changes] == [1, 1]


def test_idle_workers_that_do_not_fit_are_counted():
    """Workers for jobs have room; of those that the window keeps, as many stay as fit."""
    memory = replace(SETTLED, recommendations=(Recommendation(at=-10.0, replicas=4),))
    outcome = decided(ready=5, replicas=4, policy=replace(POLICY, behavior=Behavior()), memory=memory, placeable=3)
    assert (outcome.replicas, outcome.capped_by) == (3, Cap.NONE)
    assert outcome.reason.endswith("the nodes have room left for 2 idle workers")


def test_room_for_more_workers_than_jobs_need_changes_nothing():
    """Free nodes are no reason to start workers."""
    outcome = decided(ready=5, placeable=3)
    assert (outcome.replicas, outcome.capped_by, "nodes" in outcome.reason) == (1, Cap.NONE, False)


@pytest.mark.parametrize(
    ("learns", "startup_s", "ended", "size"),
    [(True, 1.0, 100.0, 1), (False, 1.0, 100.0, 4), (True, None, 100.0, 4), (True, 1.0, 0.0, 4)],
)
def test_a_window_that_is_not_set_gives_way_to_the_learned_hold(learns, startup_s, ended, size):
    """The default window holds until start-up and service times are known; a window of the user always holds."""
    learned = Learned(at=0.0, busy_s=ended / 10, ended=ended, startup_s=startup_s, counters=Counters())
    memory = replace(SETTLED, recommendations=(Recommendation(at=-10.0, replicas=4),), learned=learned)
    policy = replace(POLICY, behavior=Behavior(), learns_hold=learns, idle_s=1e9)
    assert decided(replicas=4, policy=policy, memory=memory).replicas == size


def test_nothing_is_lowered_while_a_busy_pod_is_not_ready():
    """A ReplicaSet removes unready pods first, so an unready busy pod forbids lowering."""
    workers = [WorkerLoad(name="a", slots=5, running=1), WorkerLoad(name="b", slots=5, running=0)]
    pods = (PodState(name="a", ready=False), PodState(name="b", ready=True))
    assert decided(0, 1, replicas=2, workers=workers, pods=pods).replicas == 2


def test_capacity_caps_the_size_and_lets_some_pods_wait_under_provision():
    """Existing caps at the placeable replicas; Provision adds the pods that may wait."""
    capped = decided(ready=50, placeable=3)
    assert (capped.replicas, capped.capped_by) == (3, Cap.GPU_CAPACITY)
    assert decided(ready=50, placeable=3, max_pending=2).replicas == 5


def test_an_idle_pool_does_not_blame_the_nodes():
    """An idle worker goes when a different pool needs the room; no job lacks capacity, so no limit is reported."""
    memory = replace(SETTLED, last_busy_at=0.0)
    outcome = decided(replicas=1, memory=memory, now=5.0, placeable=0)
    assert (outcome.replicas, outcome.capped_by) == (0, Cap.NONE)
    assert outcome.reason == "no job waits or runs; the nodes have room left for no idle workers"
    assert decided(replicas=0, memory=memory, now=5.0, placeable=0).reason == "no job waits or runs"
    assert decided(ready=1, placeable=0).capped_by == Cap.GPU_CAPACITY


def test_workers_kept_on_little_history_have_a_reason():
    """Beyond idleSeconds workers stay while the time between bursts is unknown: the reason has this cause."""
    need = Demand(running=0, ready=0, slots=0, reacting=0, warm=2, held_back=0)
    assert "bursts have come back sooner" in demand_words(need, 5)
    words = demand_words(replace(need, warm_is_sure=False), 5)
    assert words.startswith("no job waits or runs; 2 workers kept warm for about 300 s, idleSeconds or not")
    assert "stabilizationWindowSeconds" in words


def test_a_single_burst_does_not_predict_the_next():
    """After the first burst a worker with a long start-up stays beyond its idle period, and the reason is uncertain."""
    policy = replace(POLICY, idle_s=10, behavior=Behavior(), learns_hold=True)
    counters = Counters(submitted=0, finished=0, run_s=0.0)
    memory, now, found = SETTLED, 0.0, None
    for submitted, running in ((0, 0), (5, 5), (5, 0), (5, 0)):
        now += 30.0
        counters = Counters(submitted=submitted, finished=submitted - running, run_s=10.0 * (submitted - running))
        seen = Observation(
            replicas=1, backlog=replace(backlog(0, running), counters=counters), startup_samples_s=(30.0,)
        )
        found = decide(seen, policy, memory, now)
        memory = found.memory
    assert found is not None
    assert found.replicas == 1
    assert "1 worker kept warm for about 300 s" in found.reason


def test_the_reason_is_a_sentence_that_names_jobs_and_workers():
    """The reason names the waiting jobs, the running jobs, and the necessary workers."""
    assert decided(7, 1).reason == "7 jobs wait and 1 job runs, which takes 2 workers of 5 slots"
    assert decided(0, 0).reason == "no job waits or runs"


def test_the_reason_names_the_forecast_where_it_decides():
    """Arrivals of the last start-up time ask for more workers than the backlog; later the recent need keeps them."""
    counters = Counters(submitted=100, finished=50, run_s=100.0)
    learned = Learned(
        at=0.0, busy_s=100.0, ended=50.0, startup_s=20.0, counters=counters, arrivals=(Arrival(at=0.0, jobs=100),)
    )
    policy, memory = replace(POLICY, learns_hold=True), replace(SETTLED, learned=learned)
    busy = Observation(replicas=1, backlog=replace(backlog(20, 0), counters=counters))
    found = decide(busy, policy, memory, 1.0)
    assert found.reason == (
        "20 jobs wait, which takes 4 workers of 5 slots, 3 of them for jobs that are expected within a start of 20 s"
    )
    idle = decide(Observation(replicas=8, backlog=replace(backlog(0, 0), counters=counters)), policy, found.memory, 2.0)
    assert idle.reason == "no job waits or runs; 4 workers in all, because demand was as high within the last 20 s"
