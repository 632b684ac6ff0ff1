"""The decision: the number of workers that a pool should have now. Pure.

`decide` picks the mode (hold, manual, paused, automatic). The automatic size passes through, in this order: bounds,
idle period, stabilization, rate policies, capacity; the result is the number of workers that continue to claim
(`Decision.keep`). The last step never removes a busy worker: the rest finishes its jobs first, and only then the size
follows (`Decision.replicas`). Each step that changes the size names itself in `Decision.capped_by`. The scaling loop
takes over next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agentpool_operator.scaling import behavior
from agentpool_operator.scaling.assessment import assess
from agentpool_operator.scaling.decision import Cap, Decision, Mode
from agentpool_operator.scaling.demand import add_replacements, count_in_jobs
from agentpool_operator.scaling.memory import Change, PoolMemory, Recommendation, remember
from agentpool_operator.scaling.reason_text import clause, count_text, demand_words
from agentpool_operator.scaling.targets import with_present_target

if TYPE_CHECKING:
    from agentpool_operator.scaling.demand import Demand
    from agentpool_operator.scaling.observation import Backlog, Observation
    from agentpool_operator.scaling.policy import ScalingPolicy, ScalingRules


SHORT_OUTAGE_SECONDS = 5.0  # of a Redis: workers that may be busy are not removed unseen meanwhile


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """A size between the steps."""

    replicas: int
    cap: Cap
    note: str = ""  # text of the last step that changed the size


def decide(observation: Observation, policy: ScalingPolicy, memory: PoolMemory, now: float) -> Decision:
    """Return the size that the pool should have, and the memory for the next decision."""
    memory = _begin(memory, observation, now)
    if policy.manual_replicas is not None:
        return _conclude(
            Mode.MANUAL,
            observation,
            memory,
            now,
            replicas=policy.manual_replicas,
            reason="spec.replicas sets the size",
        )
    if observation.backlog is None:
        return _decide_unread(observation, policy, memory, now)
    if policy.paused:
        return _decide_paused(observation, memory, now)
    return _automatic(observation, observation.backlog, policy, memory, now)


def demanded_workers(observation: Observation, policy: ScalingPolicy, memory: PoolMemory, now: float) -> int:
    """Return the workers that the pool would use without a capacity limit: its claim when capacity is shared."""
    if policy.manual_replicas is not None:
        return policy.manual_replicas
    if observation.backlog is None:
        return _bounded_size(observation, policy).replicas
    if policy.paused:
        return observation.replicas
    _, _, need = _assess(observation, observation.backlog, policy, memory, now)
    return min(max(need.workers, policy.min_replicas), policy.max_replicas)


def record_outcome(decision: Decision, *, before: int, reached: int) -> Decision:
    """Return the executed decision: the number of idle workers may differ from the observation."""
    if reached == decision.replicas:
        return decision
    memory = decision.memory
    changes = memory.changes if decision.replicas == before else memory.changes[:-1]
    if reached != before and memory.learned.at is not None:
        changes = (*changes, Change(at=memory.learned.at, delta=reached - before))
    memory = replace(memory, changes=changes, last_replicas=reached)
    return replace(decision, replicas=reached, memory=memory)


def _begin(memory: PoolMemory, observation: Observation, now: float) -> PoolMemory:
    """Return a memory with a beginning: the present size counts as recommended, and as busy."""
    if memory.since is not None:
        return memory
    found = Recommendation(at=now, replicas=observation.replicas)
    return replace(memory, since=now, last_busy_at=now, recommendations=(found,))


def _automatic(
    observation: Observation, backlog: Backlog, policy: ScalingPolicy, memory: PoolMemory, now: float
) -> Decision:
    policy, memory, need = _assess(observation, backlog, policy, memory, now)
    if backlog.ready or backlog.running:
        memory = replace(memory, last_busy_at=now)
    step = _limit_to_bounds(need, policy)
    step = _keep_while_idle(step, observation, policy, memory, now)
    memory = replace(
        memory,
        recommendations=remember(
            memory.recommendations,
            Recommendation(at=now, replicas=step.replicas),
            horizon_s=max(policy.behavior.up.stabilization_s, policy.behavior.down.stabilization_s),
            exact=policy.behavior.up.stabilization_s > 0,
        ),
    )
    step = _smooth(step, observation, _with_learned_hold(policy, memory), memory, now)
    step = _limit_to_room(step, observation, at_work=min(max(need.reacting, policy.min_replicas), policy.max_replicas))
    keep = step.replicas
    step = _protect_busy_pods(step, observation)
    target = memory.target.words if policy.targets and memory.target is not None else ""
    reason = demand_words(need, int(policy.concurrency), target=target) + (f"; {step.note}" if step.note else "")
    return _conclude(
        Mode.AUTOMATIC,
        observation,
        memory,
        now,
        replicas=step.replicas,
        keep=keep,
        reason=reason,
        wanted=need.workers,
        cap=step.cap,
    )


def _assess(
    observation: Observation, backlog: Backlog, policy: ScalingPolicy, memory: PoolMemory, now: float
) -> tuple[ScalingPolicy, PoolMemory, Demand]:
    """Return the policy with the present target, the memory after this observation, and the demand."""
    policy, memory = with_present_target(policy, backlog, memory)
    memory, need = assess(observation, backlog, count_in_jobs(policy, backlog), memory, now)
    return policy, memory, add_replacements(need, backlog.out_of_service)


def _with_learned_hold(policy: ScalingPolicy, memory: PoolMemory) -> ScalingPolicy:
    """Replace an unset scale-down window by the learned hold time."""
    if not policy.learns_hold or memory.learned.startup_s is None or memory.learned.service_s is None:
        return policy
    if not memory.covers(memory.learned.at or 0.0, policy.behavior.down.stabilization_s):
        return policy
    down = replace(policy.behavior.down, stabilization_s=0.0)
    return replace(policy, behavior=replace(policy.behavior, down=down))


def _limit_to_bounds(need: Demand, policy: ScalingPolicy) -> _Step:
    if need.workers > policy.max_replicas:
        return _Step(
            replicas=policy.max_replicas,
            cap=Cap.MAX_REPLICAS,
            note=f"maxReplicas allows {policy.max_replicas}",
        )
    if need.workers < policy.min_replicas:
        return _Step(
            replicas=policy.min_replicas,
            cap=_minimum_cap(policy),
            note=policy.minimum_words,
        )
    if need.held_back:
        full = "room under limits of their keys, tenants or kinds" if need.divided else "a slot of a route at its limit"
        full = f"the limit {', '.join(need.bounds)}" if need.bounds else full
        note = f"{clause(need.held_back, 'job', 'wait')} for {full}"
        return _Step(replicas=need.workers, cap=Cap.ROUTE_LIMIT, note=note)
    return _Step(replicas=need.workers, cap=Cap.NONE)


def _minimum_cap(policy: ScalingPolicy) -> Cap:
    if policy.pattern:
        return Cap.PATTERN
    return Cap.SCHEDULE if policy.schedule else Cap.MIN_REPLICAS


def _keep_while_idle(
    step: _Step, observation: Observation, policy: ScalingPolicy, memory: PoolMemory, now: float
) -> _Step:
    """Keep the last worker until the pool has been empty for `idle_s`."""
    if step.replicas > 0 or observation.replicas == 0 or memory.last_busy_at is None:
        return step
    left_s = policy.idle_s - (now - memory.last_busy_at)
    if left_s <= 0:
        return step
    return _Step(replicas=1, cap=Cap.IDLE_PERIOD, note=f"the last worker stays {policy.idle_s:g} s after the last job")


def _smooth(step: _Step, observation: Observation, policy: ScalingPolicy, memory: PoolMemory, now: float) -> _Step:
    """Apply tolerance, stabilisation windows, caution of a young memory and rate policies; at most maxReplicas."""
    current = observation.replicas
    up, down = policy.behavior.up, policy.behavior.down
    desired = step.replicas
    if behavior.within_tolerance(current=current, desired=desired, up=up, down=down):
        return replace(step, replicas=min(current, policy.max_replicas))
    stable = behavior.stabilize(
        now=now, current=current, desired=desired, recommendations=memory.recommendations, up=up, down=down
    )
    if stable != desired:
        step = _Step(replicas=stable, cap=Cap.STABILIZATION, note=_stable_words(stable, desired, up, down))
    if step.replicas < current and not memory.covers(now, down.stabilization_s):
        step = _Step(replicas=current, cap=Cap.YOUNG_MEMORY, note="too few observations yet to scale in")
    step = _limit_rate(step, current, policy, memory, now)
    return replace(step, replicas=min(step.replicas, max(policy.max_replicas, 0)))


def _stable_words(stable: int, desired: int, up: ScalingRules, down: ScalingRules) -> str:
    past, rules = ("as high", down) if stable > desired else ("no higher", up)
    return f"{count_text(stable, 'worker')} kept, because demand was {past} within the last {rules.stabilization_s:g} s"


def _limit_rate(step: _Step, current: int, policy: ScalingPolicy, memory: PoolMemory, now: float) -> _Step:
    highest = behavior.ceiling(now=now, current=current, changes=memory.changes, rules=policy.behavior.up)
    if step.replicas > highest:
        note = f"behavior.scaleUp allows {int(highest)} now"
        return _Step(replicas=int(highest), cap=Cap.SCALE_UP_POLICY, note=note)
    lowest = behavior.floor(now=now, current=current, changes=memory.changes, rules=policy.behavior.down)
    if step.replicas < min(lowest, current):
        note = f"behavior.scaleDown allows {lowest} now"
        return _Step(replicas=lowest, cap=Cap.SCALE_DOWN_POLICY, note=note)
    return step


def _limit_to_room(step: _Step, observation: Observation, *, at_work: int) -> _Step:
    """Limit to workers that fit on nodes, plus those that may wait for nodes. Only `at_work` workers need room."""
    if observation.placeable is None:
        return step
    most = max(observation.placeable + observation.max_pending, min(observation.kept, observation.replicas))
    if step.replicas <= most:
        return step
    if at_work <= most:
        idle = count_text(most - at_work, "idle worker")
        return _Step(replicas=most, cap=Cap.NONE, note=f"the nodes have room left for {idle}")
    waiting = f" and {observation.max_pending} may wait" if observation.max_pending else ""
    note = f"{clause(observation.placeable, 'worker', 'fit')} on the nodes{waiting}"
    return _Step(replicas=most, cap=Cap.GPU_CAPACITY, note=note)


def _protect_busy_pods(step: _Step, observation: Observation) -> _Step:
    """Keep at least the busy pods, and do not scale in while a busy pod might be removed."""
    busy = len(observation.busy_workers)
    least = observation.replicas if observation.shaky_busy_pods else min(busy, observation.replicas)
    if step.replicas >= least:
        return step
    note = f"{count_text(busy, 'busy worker')} may finish first"
    return _Step(replicas=least, cap=Cap.RUNNING_WORK, note=note)


def _decide_unread(observation: Observation, policy: ScalingPolicy, memory: PoolMemory, now: float) -> Decision:
    """Obey pause and bounds while the demand is unknown, as the HPA does; otherwise hold the size."""
    step = _limit_to_room(_bounded_size(observation, policy), observation, at_work=policy.max_replicas)
    mode = Mode.PAUSED if policy.paused else Mode.HOLD
    reason = "the queue cannot be read" + (f"; {step.note}" if step.note else ", so the size is held")
    return _conclude(mode, observation, memory, now, replicas=step.replicas, reason=reason, cap=step.cap)


def _bounded_size(observation: Observation, policy: ScalingPolicy) -> _Step:
    """Return the current size within the pause and the bounds. A short outage removes no worker."""
    current = observation.replicas
    if policy.paused:
        step = _Step(replicas=0, cap=Cap.NONE, note="spec.paused stops all workers")
    elif current > policy.max_replicas:
        step = _Step(
            replicas=policy.max_replicas, cap=Cap.MAX_REPLICAS, note=f"maxReplicas allows {policy.max_replicas}"
        )
    elif current < policy.min_replicas:
        step = _Step(replicas=policy.min_replicas, cap=_minimum_cap(policy), note=policy.minimum_words)
    else:
        return _Step(replicas=current, cap=Cap.NONE)
    if step.replicas < current and observation.unread_s < SHORT_OUTAGE_SECONDS:
        return _Step(replicas=current, cap=Cap.NONE)
    return step


def _decide_paused(observation: Observation, memory: PoolMemory, now: float) -> Decision:
    """Keep only busy workers, and add none."""
    step = _protect_busy_pods(_Step(replicas=0, cap=Cap.NONE), observation)
    reason = "spec.paused is set: no new claims" + (f", and {step.note}" if step.note else "")
    return _conclude(
        Mode.PAUSED, observation, memory, now, replicas=step.replicas, keep=0, reason=reason, wanted=0, cap=step.cap
    )


def _conclude(
    mode: Mode,
    observation: Observation,
    memory: PoolMemory,
    now: float,
    *,
    replicas: int,
    reason: str,
    keep: int | None = None,
    wanted: int | None = None,
    cap: Cap = Cap.NONE,
) -> Decision:
    """Return the decision, with its change recorded in the memory."""
    longest_period_s = 3600.0  # the longest period that a policy may have is 1800 s
    changes = tuple(change for change in memory.changes if change.at > now - longest_period_s)
    if replicas != observation.replicas:
        changes = (*changes, Change(at=now, delta=replicas - observation.replicas))
    return Decision(
        mode=mode,
        replicas=replicas,
        keep=replicas if keep is None else keep,
        wanted=replicas if wanted is None else wanted,
        capped_by=cap,
        reason=reason,
        memory=replace(memory, changes=changes, last_replicas=replicas),
    )
