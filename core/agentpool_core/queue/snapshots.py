"""A pool's queue at a moment of the Redis clock.

Plain values, read by a single script, so the figures are consistent. Used by the operator's scaling loop, the gateway
and the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentpool_core.jobs import BudgetUse, Priority, WorkerId
from agentpool_core.queue.limits import LimitBy


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteSnapshot:
    """A route's share."""

    name: str
    limit: int | None  # jobs at once over all workers; None = no limit
    queued: Mapping[Priority, int]  # ready jobs
    running: int  # leased jobs
    slots: int = 1  # of a worker, for each job
    gpu_memory_mib: int = 0  # of a worker, for each job
    paused_ms: int = 0  # time until jobs start again after a handler's overload; 0: not paused
    startable: int | None = None  # ready jobs that limits of keys, tenants and kinds let start; None: not surveyed

    @property
    def backlog(self) -> int:
        """Ready jobs of all priorities."""
        return sum(self.queued.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitSnapshot:
    """A limit of the pool, beside the routes' own."""

    name: str
    by: LimitBy | None  # each key or tenant has a separate limit
    text: str  # the bound in words, such as "2 at once"
    waiting: int  # jobs that no worker may start before the limit has room
    routes: tuple[str, ...] | None  # whose jobs it covers whole, () = all; None: only some of their jobs
    free: int | None  # jobs that may start now; None: any number, or it differs by key or tenant
    interval_ms: float | None  # between two starts or tokens of a rate; None: no rate
    burst: int | None = None  # starts or tokens at once after a pause; None: no rate
    level: float | None = None  # starts or tokens that are free now, below 0 a debt; None: no rate, or divided
    opens_at_ms: int | None = None  # of an exhausted rate that is not divided by key or tenant; None: no such rate
    budget: BudgetUse | None = None  # the present window of a budget that is not divided by key or tenant

    def is_gate_of(self, route: str) -> bool:
        """Return whether the limit covers all jobs of the route, which then wait in their streams."""
        return self.routes is not None and (not self.routes or route in self.routes)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSnapshot:
    """A registered worker, as last reported."""

    name: WorkerId
    slots: int  # concurrent jobs
    running: int  # running jobs; in a reading of many pools, from the last heartbeat
    host: str
    version: str = ""  # of AgentPool; empty: not reported
    since_ms: int = 0  # of the registration, by the pool's clock
    note: str = ""  # the reason why the worker takes no jobs at present; `slots` is 0 then
    lease_expires_at_ms: int  # Redis clock; before `taken_at_ms`: lost, and the jobs are about to be recovered


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryPoint:
    """A pool at a moment of the past."""

    at_ms: int  # the pool's clock
    queued: int  # ready jobs
    running: int  # leased jobs
    slots: int  # of live workers
    started: int  # claims, in total; these five only grow
    finished: int  # ended jobs, in total
    failed: int  # jobs that failed for good, in total
    attempts: int  # ended attempts, in total
    run_ms: int  # of all ended attempts, in total
    desired: int | None = None  # workers, by the operator's decision; None: not known
    ready: int | None = None  # workers that Kubernetes takes for ready; None: not known


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSnapshot:
    """A pool's queue."""

    taken_at_ms: int  # Redis clock
    routes: tuple[RouteSnapshot, ...]
    scheduled: int  # waiting for their time, retries included
    blocked: int  # waiting for their parents
    dead: int  # dead letters
    oldest_wait_ms: int | None  # age of the oldest ready job; None = none is ready
    workers: tuple[WorkerSnapshot, ...]
    submitted_total: int  # since the pool began; these four only grow
    started_total: int  # attempts begun
    finished_total: int  # jobs ended, in whatever way; many may never have run
    run_ms_total: int  # time that ended attempts took
    paused: bool
    settings_revision: str
    cordoned: frozenset[WorkerId] = frozenset()  # workers that take no more jobs, registered or not
    retired: bool = False  # the AgentPool was deleted: jobs can be read, new jobs are refused
    quarantined: int = 0  # of the ready jobs, those that wait to run alone
    reserved: WorkerId | None = None  # the worker that runs them, in sequence, and nothing else
    limits: tuple[LimitSnapshot, ...] = ()
    due: int = 0  # due jobs, limits and schedules: the maintenance of any worker makes jobs ready
    held: int = 0  # jobs that wait for a limit, in addition to the ready jobs
    waiting: int = 0  # started jobs that wait for a signal or a time, without a slot
    attempts_total: int = 0  # ended attempts with any outcome; `run_ms_total` is their total time
    history: tuple[HistoryPoint, ...] = ()  # of the last hour, oldest first; empty: not read, or none

    @property
    def queued(self) -> int:
        """Ready jobs over all routes."""
        return sum(route.backlog for route in self.routes)

    @property
    def running(self) -> int:
        """Leased jobs over all routes."""
        return sum(route.running for route in self.routes)

    @property
    def slots(self) -> int:
        """Slots of the live workers."""
        return sum(worker.slots for worker in self.live_workers)

    @property
    def slots_used(self) -> int:
        """Slots that the leased jobs take: a job of a route may take several."""
        return sum(route.running * route.slots for route in self.routes)

    @property
    def slots_per_job(self) -> float:
        """Slots of a leased job, on average; 1 without leased jobs."""
        return self.slots_used / self.running if self.running else 1.0

    @property
    def is_plain(self) -> bool:
        """Whether each job takes one slot."""
        return all(route.slots == 1 for route in self.routes)

    @property
    def live_workers(self) -> tuple[WorkerSnapshot, ...]:
        """Return the workers with an unexpired lease."""
        return tuple(worker for worker in self.workers if self.lives(worker))

    def lives(self, worker: WorkerSnapshot) -> bool:
        """Return whether this worker's lease was unexpired; the remaining workers recover the jobs of a lost worker."""
        return worker.lease_expires_at_ms > self.taken_at_ms
