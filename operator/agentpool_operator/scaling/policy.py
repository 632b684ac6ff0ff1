"""The user's scaling settings, resolved to plain figures.

`agentpool_operator.pools.resolve` builds the policy from the AgentPool's spec; `decide` obeys it. The behavior types
carry the names and meanings of the HorizontalPodAutoscaler, version 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.spec.rates import PolicyType, SelectPolicy

if TYPE_CHECKING:
    from agentpool_core.jobs import Priority


@dataclass(frozen=True, kw_only=True, slots=True)
class RatePolicy:
    """A bound on how much may change within a period."""

    kind: PolicyType
    value: int  # pods, or per cent
    period_s: float  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingRules:
    """Rules of a direction; without policies a direction is unbounded."""

    stabilization_s: float = 0.0  # seconds over which the most cautious recommendation wins
    select: SelectPolicy = SelectPolicy.MAX
    policies: tuple[RatePolicy, ...] = ()
    tolerance: float = 0.0  # relative difference from the current size that is left alone, 0.1 = 10 %


@dataclass(frozen=True, kw_only=True, slots=True)
class Behavior:
    """Both directions."""

    up: ScalingRules = ScalingRules()
    down: ScalingRules = ScalingRules(stabilization_s=120.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Minimum:
    """The lowest number of workers, and its source."""

    replicas: int
    schedule: str = ""  # name of the schedule; empty: minReplicas, or a pattern
    pattern: str = ""  # the learned pattern in words; empty: minReplicas, or a schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitTarget:
    """Target wait of the jobs of a priority."""

    priority: Priority
    percentile: int  # of the jobs, those that should start within `wait_s`
    wait_s: float  # seconds

    @property
    def words(self) -> str:
        """Describe the target."""
        return f"{self.priority} ({self.percentile} % within {self.wait_s:g} s)"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingPolicy:
    """Bounds and targets of a pool."""

    concurrency: float  # slots of a worker; for a mixture of jobs that take more, the jobs that it runs at once
    gpu_memory_mib: int = 0  # of a worker, for jobs
    min_replicas: int = 0  # workers
    schedule: str = ""  # name of the schedule that sets the minimum now; empty: minReplicas or a pattern does
    pattern: str = ""  # the learned pattern that sets the minimum now, in words; empty: minReplicas or a schedule does
    max_replicas: int = 20  # workers
    manual_replicas: int | None = None  # exactly this many, chosen by the user; None = automatic
    paused: bool = False  # no new claims; workers drain
    target_wait_s: float = 5.0  # seconds that a job should wait at most
    targets: tuple[WaitTarget, ...] = ()  # of priorities, in place of `target_wait_s`
    idle_s: float = 60.0  # seconds of emptiness before the last worker goes
    behavior: Behavior = Behavior()
    learns_hold: bool = False  # no scale-down window is set: the learned hold time replaces it once known

    @property
    def minimum_words(self) -> str:
        """Describe the minimum."""
        source = self.pattern or (f"the schedule {self.schedule}" if self.schedule else "minReplicas")
        return f"{source} keeps {self.min_replicas}"
