"""The load of a queue: jobs that run, and waiting jobs that all limits allow to start. Pure.

The operator's decision and the gateway's answer to other autoscalers count by the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_core.jobs import Priority
    from agentpool_core.queue.snapshots import QueueSnapshot, WorkerSnapshot

MS_PER_SECOND = 1000
DUE = "(due)"  # no route has that name


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteLoad:
    """A route's share of the queue."""

    name: str
    limit: int | None = None  # jobs at once over all workers; None = no limit
    ready: int = 0  # jobs that a free slot could claim now
    held_back: int = 0  # of these, jobs that a claim will find held by a limit
    running: int = 0  # jobs in flight
    paused: bool = False  # after a handler's overload: no job starts at present
    slots: int = 1  # of a worker, for each job
    gpu_memory_mib: int = 0  # of a worker, for each job
    queued: Mapping[Priority, int] = field(default_factory=dict)  # of the ready jobs, those with a known priority

    @property
    def is_plain(self) -> bool:
        """Whether a job takes one slot and nothing else."""
        return self.slots == 1 and not self.gpu_memory_mib

    def per_worker(self, concurrency: int, gpu_memory_mib: int) -> int:
        """Return how many of these jobs a worker runs at once; at least 1: an empty worker takes any job."""
        by_slots = concurrency // self.slots
        return max(1, min(by_slots, gpu_memory_mib // self.gpu_memory_mib) if self.gpu_memory_mib else by_slots)


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteBound:
    """A limit over whole routes, beside their own."""

    name: str
    routes: tuple[str, ...]  # () = all
    free: int  # jobs that may start now
    per_s: float = 0.0  # further starts in a second; 0: only when jobs end


def loads_of(snapshot: QueueSnapshot) -> tuple[RouteLoad, ...]:
    """Return the load of each route; due jobs too, which no maintenance makes ready without a worker."""
    routes = [
        RouteLoad(
            name=r.name,
            limit=r.limit,
            ready=r.backlog,
            held_back=0 if r.startable is None else r.backlog - r.startable,
            running=r.running,
            paused=r.paused_ms > 0,
            slots=r.slots,
            gpu_memory_mib=r.gpu_memory_mib,
            queued=r.queued,
        )
        for r in snapshot.routes
    ]
    if snapshot.due:
        routes.append(RouteLoad(name=DUE, ready=snapshot.due))
    return tuple(routes)


def bounds_of(snapshot: QueueSnapshot) -> tuple[RouteBound, ...]:
    """Return the limits that cover whole routes."""
    return tuple(
        RouteBound(
            name=limit.name,
            routes=limit.routes,
            free=limit.free,
            per_s=MS_PER_SECOND / (limit.interval_ms or math.inf),
        )
        for limit in snapshot.limits
        if limit.routes is not None and limit.free is not None
    )


def lost_workers(snapshot: QueueSnapshot) -> list[WorkerSnapshot]:
    """Return the lost workers with jobs: without a live worker, no maintenance recovers them."""
    return [worker for worker in snapshot.workers if worker.running and not snapshot.lives(worker)]


def lost_jobs(snapshot: QueueSnapshot) -> int:
    """Count the jobs of lost workers: their routes count them as running, and they wait for recovery."""
    return min(sum(worker.running for worker in lost_workers(snapshot)), snapshot.running)


def workers_for(
    jobs: Mapping[str, int], routes: Sequence[RouteLoad], *, concurrency: int, gpu_memory_mib: int
) -> Fraction:
    """Return the workers that jobs of these routes fill, each route by itself: a mixture may need one more."""
    per_worker = {route.name: route.per_worker(concurrency, gpu_memory_mib) for route in routes}
    return sum((Fraction(count, per_worker[name]) for name, count in jobs.items()), Fraction(0))


def startable(
    routes: Sequence[RouteLoad], bounds: Sequence[RouteBound], *, within_s: float
) -> tuple[Mapping[str, int], tuple[str, ...]]:
    """Return the waiting jobs of each route that all limits allow to start soon, and the names of the limits that bind.

    The names are those of limits over several routes.
    """
    found = {route.name: _startable_of(route) for route in routes}
    binding = []
    for bound in bounds:
        free = bound.free + math.floor(bound.per_s * within_s)
        covered = [name for name in found if not bound.routes or name in bound.routes]
        if sum(found[name] for name in covered) > free:
            binding.append(bound.name)
        for name in covered:
            found[name] = min(found[name], free)
            free -= found[name]
    return found, tuple(binding)


def _startable_of(route: RouteLoad) -> int:
    """Return the waiting jobs of a route that its own limit allows to run now."""
    if route.paused:
        return 0
    free = route.ready - route.held_back
    return free if route.limit is None else min(free, max(0, route.limit - route.running))
