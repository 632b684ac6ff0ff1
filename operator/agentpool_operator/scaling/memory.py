"""State of a pool between two decisions.

A `PoolMemory` goes into every decision and a new memory comes out; it starts empty with the operator, so it knows how
far back it reaches (`since`): a young memory never scales down. `behavior` reads the history, `demand` the learned
figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentpool_operator.scaling.keep_warm import ShadowQueues

if TYPE_CHECKING:
    from agentpool_operator.scaling.observation import Counters

LEAST_LOOKS = 2.0  # looks with arrivals, after decay
SHORTEST_SECONDS = 10.0  # of a rate: the first jobs of a pool come together


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """A size that a past decision would have chosen, before smoothing."""

    at: float  # seconds
    replicas: int  # workers


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change of size that was made."""

    at: float  # seconds
    delta: int  # workers; negative when lowered


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """Jobs that were submitted between two looks."""

    at: float  # seconds: the later look
    jobs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Arrivals with exponential decay, and the time with the same decay; a young rate is that of `SHORTEST_SECONDS`."""

    jobs: float = 0.0
    looks: float = 0.0  # with arrivals
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """Jobs a second; 0 after a single batch, which is no rate."""
        if self.looks < LEAST_LOOKS:
            return 0.0
        return self.jobs / max(self.seconds, SHORTEST_SECONDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """Figures estimated from the queue and the pods."""

    at: float | None = None  # seconds: the last look; None = none yet
    busy_s: float = 0.0  # busy seconds of slots, with decay
    ended: float = 0.0  # jobs that ended meanwhile, likewise
    startup_s: float | None = None  # seconds from a pod's creation to ready; None = none seen yet
    counters: Counters | None = None  # the queue's counters at the last look
    arrived: int = 0  # jobs since the look before
    arrivals: tuple[Arrival, ...] = ()  # of the last start-up time
    arrived_at: float | None = None  # seconds: the last look with arrivals; None = none yet
    recent: Rate = Rate()  # of about a minute
    longer: Rate = Rate()  # of about ten minutes

    @property
    def service_s(self) -> float | None:
        """Mean seconds that a job runs; None = not known, for no job has ended yet."""
        return self.busy_s / self.ended if self.ended >= 1.0 and self.busy_s > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class PresentTarget:
    """The target that the waiting jobs of all priorities have together."""

    wait_s: float  # seconds
    words: str  # the target of the priority that needs the most slots


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolMemory:
    """A pool's history, oldest first."""

    since: float | None = None  # seconds: when the memory begins; None = no decision yet
    recommendations: tuple[Recommendation, ...] = ()
    changes: tuple[Change, ...] = ()
    last_busy_at: float | None = None  # seconds: when work was last seen; None = not since the memory began
    last_replicas: int | None = None  # workers requested by the last decision
    learned: Learned = Learned()
    shadow_queues: ShadowQueues = field(default_factory=ShadowQueues)  # which workers are worth keeping
    target: PresentTarget | None = None  # of the jobs that waited last; None = none has waited yet
    reactions: tuple[Recommendation, ...] = ()  # sizes that the backlog asked for within the last start-up time
    forecasts: tuple[Recommendation, ...] = ()  # sizes that were foreseen within the last target wait

    def covers(self, now: float, window_s: float) -> bool:
        """Return whether the memory reaches back over the whole window."""
        return self.since is not None and now - self.since >= window_s


def remember(
    recommendations: tuple[Recommendation, ...], new: Recommendation, *, horizon_s: float, exact: bool
) -> tuple[Recommendation, ...]:
    """Return the history with a further entry, pruned to the horizon.

    Unless `exact`, entries that can never again be the window's maximum are dropped, so that the history of a steady
    pool stays a handful of entries however long the window is.
    """
    kept = [past for past in recommendations if past.at > new.at - horizon_s]
    while not exact and kept and kept[-1].replicas <= new.replicas:
        kept.pop()
    return (*kept, new)
