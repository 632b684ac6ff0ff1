"""Dispatch delay of jobs: time that a job waited although it could have run, excluding the wait for a busy slot.

Computed from the pool's event stream. A job can run as soon as three conditions hold: the job is ready, its route is
below its limit, and some worker has a free slot. `claims` returns that moment and the time of the claim. A worker
counts from its first claim, because the stream does not contain its start; a lost worker until its jobs are recovered,
a leaving worker until `retire`. `tally` feeds the events in order.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from agentpool_local.demo.execution_record import Attempt

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from agentpool_core.jobs import JobEvent, JobId, WorkerId

READY = frozenset({"queued", "recovered", "returned", "preempted"})  # events after which a job waits for a slot
ENDS_RUN = frozenset({"succeeded", "failed", "retrying", "returned", "preempted", "recovered", "cancelled"})


class DispatchClock:
    """Follows a pool's events and measures each claim's delay."""

    def __init__(self, limits: Mapping[str, int | None], slots_per_worker: int) -> None:
        self._limits = limits
        self._slots_per_worker = slots_per_worker
        self._ready_at: dict[JobId, int] = {}
        self._running: dict[JobId, tuple[str, WorkerId | None]] = {}
        self._by_route: Counter[str] = Counter()
        self._workers: set[WorkerId | None] = set()
        self._route_open_at: dict[str, int] = {}
        self._slot_open_at = 0
        self.claims: dict[Attempt, tuple[int, int]] = {}  # could run, was claimed: ms of the Redis clock

    def feed(self, event: JobEvent) -> None:
        """Take the next event of the stream."""
        if event.type in ENDS_RUN:
            self._end(event)
        if event.type in READY:
            self._ready_at[event.job_id] = event.at_ms
        if event.type == "started":
            self._start(event)

    def retire(self, registered: Collection[WorkerId]) -> None:
        """Forget the workers that have left: neither registered any more nor holding a job."""
        holding = {worker for _, worker in self._running.values()}
        self._workers.intersection_update(holding.union(registered))

    def _start(self, event: JobEvent) -> None:
        if event.worker not in self._workers:
            if self._is_full():
                self._slot_open_at = event.at_ms
            self._workers.add(event.worker)
        could_run_at = max(
            self._ready_at.get(event.job_id, event.at_ms), self._route_open_at.get(event.route, 0), self._slot_open_at
        )
        self.claims[Attempt(event.job_id, event.attempt)] = (could_run_at, event.at_ms)
        self._running[event.job_id] = (event.route, event.worker)
        self._by_route[event.route] += 1

    def _end(self, event: JobEvent) -> None:
        if event.type == "recovered":
            self._workers.discard(event.worker)
        ran = self._running.pop(event.job_id, None)
        if ran is None:
            return
        route, _ = ran
        if self._by_route[route] == self._limits.get(route):
            self._route_open_at[route] = event.at_ms
        if len(self._running) + 1 >= len(self._workers) * self._slots_per_worker:
            self._slot_open_at = event.at_ms
        self._by_route[route] -= 1

    def _is_full(self) -> bool:
        return len(self._running) >= len(self._workers) * self._slots_per_worker


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of the values does not exceed; None without values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
