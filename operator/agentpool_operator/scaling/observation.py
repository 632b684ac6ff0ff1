"""Inputs of a decision: a pool's queue, workers and pods at a moment.

Built by the scaling loop (or a simulator), read by `demand` and `decide`. Times are seconds of a single clock, which
need not be the wall clock; ages and durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_core.queue.load import RouteBound, RouteLoad


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLoad:
    """A live worker, as reported to the queue."""

    name: str  # pod name, or the name of a worker run by hand
    slots: int  # jobs at once
    running: int  # running jobs


@dataclass(frozen=True, kw_only=True, slots=True)
class PodState:
    """A pod of the pool, except terminating pods."""

    name: str
    ready: bool = False  # passes the readiness probe
    age_s: float = 0.0  # seconds since creation


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """Totals of the queue since its creation; only differences are meaningful."""

    submitted: int = 0  # jobs
    started: int = 0  # attempts
    finished: int = 0  # attempts
    run_s: float = 0.0  # seconds that finished attempts ran, summed


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """A pool's queue at a moment."""

    routes: tuple[RouteLoad, ...] = ()
    bounds: tuple[RouteBound, ...] = ()
    held: int = 0  # jobs that wait for a limit, in addition to the ready jobs: no slot would start them
    workers: tuple[WorkerLoad, ...] = ()
    oldest_wait_s: float | None = None  # the longest wait of a ready job; None = none waits
    counters: Counters = Counters()
    lost: int = 0  # jobs of lost workers, counted as running by their routes: they wait for recovery
    out_of_service: int = 0  # live workers that take none of these jobs: they cannot, or run one job in quarantine

    @property
    def ready(self) -> int:
        """Jobs that wait for a slot, also those of lost workers."""
        return sum(route.ready for route in self.routes) + self.lost

    @property
    def running(self) -> int:
        """Return the jobs in flight: the larger of the routes' and the workers' counts."""
        return max(sum(r.running for r in self.routes) - self.lost, sum(w.running for w in self.workers))


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """All inputs of a decision."""

    replicas: int  # the Deployment's current spec.replicas
    backlog: Backlog | None  # None = the queue could not be read: unknown, never zero
    pods: tuple[PodState, ...] | None = None  # None = not known: then every worker counts as a pod
    unread_s: float = 0.0  # seconds since the queue was readable; 0 = it is
    placeable: int | None = None  # workers that fit the cluster now, including existing workers; None = no limit
    kept: int = 0  # of the existing workers, those whose place no other pool takes, however `placeable` falls
    max_pending: int = 0  # pods that may wait for new nodes beyond `placeable`
    draining: int = 0  # running jobs on pods that end: no further worker needs to run them
    startup_samples_s: tuple[float, ...] = ()  # seconds from creation to ready, of pods that became ready since

    @property
    def busy_workers(self) -> tuple[WorkerLoad, ...]:
        """Live workers of this pool's pods that hold jobs."""
        if self.backlog is None:
            return ()
        names = None if self.pods is None else {pod.name for pod in self.pods}
        return tuple(w for w in self.backlog.workers if w.running > 0 and (names is None or w.name in names))

    @property
    def shaky_busy_pods(self) -> int:
        """Return the busy pods that are not ready: a ReplicaSet would remove them before idle ready pods."""
        unready = {pod.name for pod in self.pods or () if not pod.ready}
        return sum(1 for worker in self.busy_workers if worker.name in unready)
