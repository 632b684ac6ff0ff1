"""The operator's decision in the simulator: the same `decide()`, fed with simulated observations.

The start-up time is learned from the simulated pods; the decision gets only the inputs of a live operator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentpool_core.queue.load import RouteLoad
from agentpool_operator.scaling.decide import decide
from agentpool_operator.scaling.memory import PoolMemory
from agentpool_operator.scaling.observation import Backlog, Counters, Observation, PodState, WorkerLoad
from agentpool_operator.scaling.patterns import DAYS_AGO, raised_minimum, seconds_ahead
from agentpool_operator.scaling.policy import Minimum, ScalingPolicy

if TYPE_CHECKING:
    from bench.autoscale.simulator import State

QUARTER_SECONDS = 900.0
QUARTERS_A_DAY = 96


@dataclass(slots=True)
class Ours:
    """AgentPool with default settings."""

    name: str = "AgentPool"
    period_s: float = 2.0  # pollSeconds
    woken: bool = True
    keep: int = 0
    target_wait_s: float = 5.0  # the spec's default
    reason: str = ""  # of the last decision
    learns_patterns: bool = False
    _quarters: dict[int, list[int]] = field(default_factory=dict)  # running jobs, by number of the quarter of an hour
    _memory: PoolMemory = field(default_factory=PoolMemory)

    def size(self, state: State) -> int:
        """Decide and remember."""
        setup = state.setup
        minimum = self._learned_minimum(state) if self.learns_patterns else Minimum(replicas=0)
        policy = ScalingPolicy(
            concurrency=setup.slots,
            min_replicas=minimum.replicas,
            pattern=minimum.pattern,
            max_replicas=setup.max_workers,
            target_wait_s=self.target_wait_s,
            learns_hold=True,
        )
        decision = decide(self._observed(state), policy, self._memory, state.now)
        self._memory, self.keep, self.reason = decision.memory, decision.keep, decision.reason
        return decision.replicas

    def _learned_minimum(self, state: State) -> Minimum:
        """Return the minimum by the loads of past days, which `record.lua` keeps live."""
        self._quarters.setdefault(int(state.now // QUARTER_SECONDS), []).append(state.running)
        quarter = int((state.now + seconds_ahead(self._memory.learned.startup_s)) // QUARTER_SECONDS)
        seen = {days: self._quarters.get(quarter - days * QUARTERS_A_DAY) for days in DAYS_AGO}
        loads = {days: sum(running) / len(running) for days, running in seen.items() if running}
        return raised_minimum(Minimum(replicas=0), loads, slots=state.setup.slots, most=state.setup.max_workers)

    def _observed(self, state: State) -> Observation:
        route = RouteLoad(name="default", ready=len(state.waiting), running=state.running)
        ready = state.ready()
        backlog = Backlog(
            routes=(route,),
            workers=tuple(WorkerLoad(name=str(w.number), slots=state.setup.slots, running=w.running) for w in ready),
            oldest_wait_s=state.now - state.waiting[0].at if state.waiting else None,
            counters=Counters(
                submitted=state.submitted, started=state.started, finished=state.finished, run_s=state.run_s
            ),
        )
        pods = tuple(
            PodState(name=str(w.number), ready=w.ready_at <= state.now, age_s=state.now - w.born) for w in state.workers
        )
        return Observation(
            replicas=len(state.workers),
            backlog=backlog,
            pods=pods,
            startup_samples_s=tuple(state.startups_s),
        )
