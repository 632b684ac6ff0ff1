"""Properties of every decision and every sharing, for any observation."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agentpool_core.queue.load import RouteLoad
from agentpool_operator.scaling.decide import decide
from agentpool_operator.scaling.memory import PoolMemory
from agentpool_operator.scaling.nodes import Node, Shape
from agentpool_operator.scaling.observation import Backlog, Observation, WorkerLoad
from agentpool_operator.scaling.policy import Behavior, ScalingPolicy, ScalingRules
from agentpool_operator.scaling.sharing import Claim, Idle, share

SETTLED = PoolMemory(since=-1e6, last_busy_at=-1e6)

routes = st.builds(
    RouteLoad,
    name=st.just("r"),
    limit=st.none() | st.integers(1, 50),
    ready=st.integers(0, 500),
    running=st.integers(0, 60),
)
worker_lists = st.lists(st.integers(0, 5), max_size=12).map(
    lambda held: tuple(WorkerLoad(name=f"w{i}", slots=5, running=n) for i, n in enumerate(held))
)
policies = st.builds(
    ScalingPolicy,
    concurrency=st.integers(1, 20),
    min_replicas=st.integers(0, 5),
    max_replicas=st.integers(5, 60),
    idle_s=st.floats(0, 100),
    behavior=st.builds(
        Behavior,
        up=st.builds(ScalingRules, stabilization_s=st.just(0.0)),
        down=st.builds(ScalingRules, stabilization_s=st.floats(0, 300)),
    ),
)


@st.composite
def observations(draw):
    workers = draw(worker_lists)
    return Observation(
        replicas=draw(st.integers(len(workers), len(workers) + 10)),
        backlog=Backlog(routes=tuple(draw(st.lists(routes, max_size=3))), workers=workers),
        placeable=draw(st.none() | st.integers(0, 40)),
        max_pending=draw(st.integers(0, 4)),
    )


def busy(observation):
    return sum(1 for worker in observation.backlog.workers if worker.running)


@given(observations(), policies)
def test_the_size_is_within_bounds_or_as_large_as_running_work_needs(seen, policy):
    """The size lies between 0 and maxReplicas unless more workers are busy already."""
    size = decide(seen, policy, SETTLED, 0.0).replicas
    assert 0 <= size <= max(policy.max_replicas, busy(seen))


@given(observations(), policies)
def test_no_busy_worker_is_removed(seen, policy):
    """The size is never below the number of busy workers."""
    assert decide(seen, policy, SETTLED, 0.0).replicas >= min(busy(seen), seen.replicas)


@given(observations(), policies)
def test_the_size_never_exceeds_what_fits_unless_work_runs_there(seen, policy):
    """Under policy Existing the size is at most the placeable or the busy replicas."""
    seen = replace(seen, max_pending=0)
    size = decide(seen, policy, SETTLED, 0.0).replicas
    if seen.placeable is not None:
        assert size <= max(seen.placeable, busy(seen))


@given(observations(), policies, st.integers(1, 300))
def test_more_backlog_never_asks_for_fewer_workers(seen, policy, more):
    """The size is monotone in the backlog."""
    route = RouteLoad(name="extra", ready=more)
    larger = replace(seen, backlog=replace(seen.backlog, routes=(*seen.backlog.routes, route)))
    assert decide(larger, policy, SETTLED, 0.0).replicas >= decide(seen, policy, SETTLED, 0.0).replicas


@given(observations(), policies)
def test_deciding_twice_changes_nothing(seen, policy):
    """A decision that was carried out decides the same again."""
    first = decide(seen, policy, SETTLED, 0.0)
    second = decide(replace(seen, replicas=first.replicas), policy, first.memory, 0.0)
    assert second.replicas == first.replicas


@given(observations(), policies, st.floats(0.5, 30))
def test_a_steady_load_settles_and_never_flaps(seen, policy, step):
    """Under a steady load the size moves in a single direction after the first move, and stays."""
    memory, sizes, now = SETTLED, [], 0.0
    for _ in range(60):
        outcome = decide(seen, policy, memory, now)
        memory, seen, now = outcome.memory, replace(seen, replicas=outcome.replicas), now + step
        sizes.append(outcome.replicas)
    moves = [b - a for a, b in pairwise(sizes) if a != b]
    assert all(move < 0 for move in moves)


# --- sharing ---------------------------------------------------------------------------------------------------


@st.composite
def contests(draw):
    """Nodes with GPUs, and pools with pods on some of the nodes."""
    sizes = draw(st.lists(st.integers(0, 8), min_size=1, max_size=5))
    left = list(sizes)
    claims = []
    for index in range(draw(st.integers(1, 4))):
        per = draw(st.integers(1, 3))
        held = {"busy": {}, "idle": {}}
        for node in range(len(sizes)):
            for kind in ("busy", "idle"):
                count = draw(st.integers(0, left[node] // per))
                if count:
                    held[kind][f"n{node}"] = count
                    left[node] -= count * per
        claims.append(
            Claim(
                pool=f"p{index}",
                shape=Shape(requests={"gpu": per}),
                wanted=draw(st.integers(0, 12)),
                current=draw(st.integers(0, 12)),
                priority=draw(st.integers(0, 2)),
                busy=held["busy"],
                idle=tuple(
                    Idle(node=node, requests={"gpu": per}) for node, count in held["idle"].items() for _ in range(count)
                ),
            )
        )
    nodes = [Node(name=f"n{i}", free={"gpu": free}) for i, free in enumerate(left)]
    return sizes, nodes, claims


def shared(nodes, claims):
    return {pool: grant.placeable for pool, grant in share(nodes, claims).items()}


def taken(claim, granted):
    return min(granted, max(claim.wanted, claim.current, sum(claim.busy.values())))


@given(contests())
def test_the_grants_of_all_pools_fit_the_nodes(contest):
    """All pools together get no more than the nodes have."""
    sizes, nodes, claims = contest
    granted = shared(nodes, claims)
    used = sum(taken(claim, granted[claim.pool]) * claim.shape.requests["gpu"] for claim in claims)
    assert used <= sum(sizes)


@given(contests())
def test_running_work_keeps_its_places(contest):
    """No grant is below the pool's busy pods."""
    _, nodes, claims = contest
    granted = shared(nodes, claims)
    assert all(granted[claim.pool] >= sum(claim.busy.values()) for claim in claims)


@given(contests())
def test_a_lower_priority_never_starves_a_higher(contest):
    """The grant of a priority does not depend on the pools below, except for their running work."""
    _, nodes, claims = contest
    top = max(claim.priority for claim in claims)
    alone = [c if c.priority == top else replace(c, wanted=0, current=0) for c in claims]
    with_others, without = shared(nodes, claims), shared(nodes, alone)
    for claim in claims:
        if claim.priority == top:
            assert min(with_others[claim.pool], claim.wanted) == min(without[claim.pool], claim.wanted)


@given(st.integers(0, 30), st.lists(st.integers(0, 20), min_size=2, max_size=5))
def test_equals_share_fairly(devices, wants):
    """Among equals no pool gets fewer than an unsatisfied pool, up to a difference of 1."""
    claims = [
        Claim(pool=i, shape=Shape(requests={"gpu": 1}), wanted=w, current=0, busy={}, idle=())
        for i, w in enumerate(wants)
    ]
    granted = shared([Node(name="n", free={"gpu": devices})], claims)
    got = [min(granted[i], want) for i, want in enumerate(wants)]
    assert sum(got) == min(devices, sum(wants))
    for mine, want in zip(got, wants, strict=True):
        if mine < want:
            assert all(other <= mine + 1 for other in got)
