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
from agentpool_operator.scaling.headroom import cheapest_size, forecast
from agentpool_operator.scaling.keep_warm import Load, is_sure, kept_warm, observe_gap
from agentpool_operator.scaling.memory import Learned, PoolMemory, Recommendation, remember
from agentpool_operator.scaling.reaction import Outlook, desired_slots

if TYPE_CHECKING:
    from agentpool_operator.scaling.observation import Backlog, Observation
    from agentpool_operator.scaling.policy import ScalingPolicy

ENDLESS_SECONDS = 1e9  # service time while no job has ended


def assess(
    observation: Observation, backlog: Backlog, policy: ScalingPolicy, memory: PoolMemory, now: float
) -> tuple[PoolMemory, Demand]:
    """Return the memory after this observation, and the demand."""
    known = learning.learn(memory.learned, observation, backlog, now)
    plain = demand(backlog, policy, known.service_s, draining=observation.draining)
    load = _load(known, known.startup_s or _at_least(observation, policy), policy, now)
    memory = replace(memory, learned=known, shadow_queues=observe_gap(memory.shadow_queues, load))
    useful = _useful(backlog, policy)
    foreseen = min(_foreseen(plain, known, load), useful)
    if known.startup_s is None:
        return memory, _with_expected(plain, load, foreseen=foreseen)
    need = plain
    if known.service_s is not None:
        outlook = _outlook(observation, plain, known, policy, service_s=known.service_s, load=load)
        need = _look_ahead(plain, outlook, policy)
    if not policy.learns_hold:  # a window of the user's own says how long workers are kept, and nothing else does
        return memory, _with_expected(need, load, foreseen=foreseen)
    horizon_s = max(known.startup_s, policy.target_wait_s)
    reactions = _remember(memory.reactions, need.reacting, now, over_s=horizon_s)
    forecasts = _remember(memory.forecasts, foreseen, now, over_s=policy.target_wait_s)
    memory = replace(memory, reactions=reactions, forecasts=forecasts)
    warm = min(kept_warm(memory.shadow_queues, load), useful) if known.startup_s > policy.target_wait_s else 0
    recent = _most(reactions)
    need = _with_expected(
        replace(need, reacting=recent, recent=recent - need.reacting, recent_s=horizon_s),
        load,
        foreseen=_most(forecasts),
        warm=warm,
        warm_is_sure=warm == 0 or is_sure(memory.shadow_queues, warm),
    )
    return memory, need


def _with_expected(need: Demand, load: Load, *, foreseen: int, warm: int = 0, warm_is_sure: bool = True) -> Demand:
    """Return the demand with the workers beyond those of the present jobs, and the larger reason for them."""
    return replace(
        need,
        startup_s=load.startup_s,
        foreseen=foreseen if foreseen > need.reacting and foreseen >= warm else 0,
        warm=warm if warm > max(need.reacting, foreseen) else 0,
        warm_is_sure=warm_is_sure,
    )


def _remember(
    past: tuple[Recommendation, ...], replicas: int, now: float, *, over_s: float
) -> tuple[Recommendation, ...]:
    return remember(past, Recommendation(at=now, replicas=replicas), horizon_s=over_s, exact=False)


def _most(past: tuple[Recommendation, ...]) -> int:
    return max(recommendation.replicas for recommendation in past)


def _foreseen(plain: Demand, known: Learned, load: Load) -> int:
    """Return the workers for the forecast number of busy slots; while a limit holds jobs back, arrivals need none."""
    limited = plain.held_back or plain.held
    service_s = known.service_s or ENDLESS_SECONDS
    ahead = forecast(
        busy=plain.slots,
        rate=0.0 if limited else learning.expected_rate(known),
        service_s=service_s,
        startup_s=load.startup_s,
    )
    return cheapest_size(
        ahead,
        service_s=service_s,
        startup_s=load.startup_s,
        target_s=load.target_s,
        slots=load.slots,
        most=load.most,
    )


def _look_ahead(plain: Demand, outlook: Outlook, policy: ScalingPolicy) -> Demand:
    """Return the demand with the arrivals of a start-up time, and the number of workers that only these need."""
    reacting = whole_workers(desired_slots(outlook), policy)
    without = whole_workers(desired_slots(replace(outlook, steady_rate=0.0, present_rate=0.0)), policy)
    expected = max(0, reacting - without)
    return replace(plain, reacting=reacting, expected=expected)


def _at_least(observation: Observation, policy: ScalingPolicy) -> float:
    """Return a lower bound of the start-up time in seconds, before any complete start-up: the age of starting pods."""
    starting = [pod.age_s for pod in observation.pods or () if not pod.ready]
    return max([policy.target_wait_s, *starting])


def _load(known: Learned, startup_s: float, policy: ScalingPolicy, now: float) -> Load:
    return Load(
        now=now,
        arrived=known.arrived,
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
