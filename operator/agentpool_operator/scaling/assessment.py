"""Desired size of a pool, from the backlog, the expected arrivals, and the learned figures.

Until a start-up and a service time are known, the plain `demand` of the moment. Then the larger of `reaction`, which
looks ahead by a start-up time and is kept as long as a worker needs to start, and `keep_warm`, which looks back.
`decide` takes over next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_operator.scaling import learning
from agentpool_operator.scaling.demand import Demand, demand, whole_workers
from agentpool_operator.scaling.keep_warm import Load, is_sure, kept_warm, observe_gap
from agentpool_operator.scaling.memory import Learned, PoolMemory, Recommendation, remember
from agentpool_operator.scaling.reaction import Outlook, desired_slots

if TYPE_CHECKING:
    from agentpool_operator.scaling.observation import Backlog, Observation
    from agentpool_operator.scaling.policy import ScalingPolicy


def assess(
    observation: Observation, backlog: Backlog, policy: ScalingPolicy, memory: PoolMemory, now: float
) -> tuple[PoolMemory, Demand]:
    """Return the memory after this observation, and the demand."""
    before = memory.learned
    known = learning.learn(before, observation, backlog, now)
    memory = replace(memory, learned=known)
    plain = demand(backlog, policy, known.service_s, draining=observation.draining)
    startup_s = known.startup_s or _at_least(observation, policy)
    load = _load(known, _count_arrivals(before, known), startup_s, policy, now)
    shadow_queues = observe_gap(memory.shadow_queues, load)
    if known.startup_s is None:
        return replace(memory, shadow_queues=shadow_queues), plain
    need = plain
    if known.service_s is not None:
        outlook = _outlook(observation, plain, known, policy, service_s=known.service_s, load=load)
        need = _look_ahead(plain, outlook, policy)
    if not policy.learns_hold:  # a window of the user's own says how long workers are kept, and nothing else does
        return replace(memory, shadow_queues=shadow_queues), need
    horizon_s = max(known.startup_s, policy.target_wait_s)
    latest = Recommendation(at=now, replicas=need.reacting)
    reactions = remember(memory.reactions, latest, horizon_s=horizon_s, exact=False)
    reacting = max(reaction.replicas for reaction in reactions)
    warm = (
        min(kept_warm(shadow_queues, load), _useful(backlog, policy)) if known.startup_s > policy.target_wait_s else 0
    )
    need = replace(
        need,
        reacting=reacting,
        workers=max(reacting, warm),
        recent=reacting - need.reacting,
        recent_s=horizon_s,
    )
    if warm > reacting:
        need = replace(need, warm=warm, warm_is_sure=is_sure(shadow_queues, warm))
    return replace(memory, shadow_queues=shadow_queues, reactions=reactions), need


def _look_ahead(plain: Demand, outlook: Outlook, policy: ScalingPolicy) -> Demand:
    """Return the demand with the arrivals of a start-up time, and the number of workers that only these need."""
    reacting = whole_workers(desired_slots(outlook), policy)
    without = whole_workers(desired_slots(replace(outlook, steady_rate=0.0, present_rate=0.0)), policy)
    expected = max(0, reacting - without)
    return replace(plain, reacting=reacting, workers=reacting, expected=expected, startup_s=outlook.startup_s)


def _at_least(observation: Observation, policy: ScalingPolicy) -> float:
    """Return a lower bound of the start-up time in seconds, before any complete start-up: the age of starting pods."""
    starting = [pod.age_s for pod in observation.pods or () if not pod.ready]
    return max([policy.target_wait_s, *starting])


def _count_arrivals(before: Learned, known: Learned) -> int:
    """Return the number of jobs submitted since the last observation."""
    if before.counters is None or known.counters is None:
        return 0
    return max(0, known.counters.submitted - before.counters.submitted)


def _load(known: Learned, arrived: int, startup_s: float, policy: ScalingPolicy, now: float) -> Load:
    return Load(
        now=now,
        arrived=arrived,
        service_s=known.service_s or policy.target_wait_s,
        startup_s=startup_s,
        target_s=policy.target_wait_s,
        slots=max(1, policy.concurrency),
        most=policy.max_replicas,
    )


def _outlook(
    observation: Observation,
    plain: Demand,
    known: Learned,
    policy: ScalingPolicy,
    *,
    service_s: float,
    load: Load,
) -> Outlook:
    lately = learning.rate_of(known.arrivals, load.now, policy.target_wait_s)
    longer = learning.rate_of(known.arrivals, load.now, max(load.startup_s, policy.target_wait_s))
    return Outlook(
        running=plain.running,
        startable=plain.ready - plain.held_back,
        slots_now=observation.replicas * policy.concurrency,
        steady_rate=longer,
        present_rate=max(lately, longer),
        service_s=service_s,
        startup_s=load.startup_s,
        target_s=policy.target_wait_s,
    )


def _useful(backlog: Backlog, policy: ScalingPolicy) -> int:
    """Return the number of workers beyond which no job could run: all routes would be at their limits."""
    limits = [route.limit for route in backlog.routes]
    if not limits or any(limit is None for limit in limits):
        return policy.max_replicas
    return whole_workers(sum(limit or 0 for limit in limits), policy)
