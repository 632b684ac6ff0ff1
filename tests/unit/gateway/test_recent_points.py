"""Readings of a gateway make the estimate of a wait right within seconds of a change of the work."""

from __future__ import annotations

from dataclasses import replace

from agentpool_core.jobs import Priority, WorkerId
from agentpool_core.queue.snapshots import QueueSnapshot, RouteSnapshot, WorkerSnapshot
from agentpool_core.queue.wait_estimate import estimated_wait_ms
from agentpool_gateway.pools.recent_points import POINTS, RecentPoints
from tests.fixtures.snapshots import snapshot_with

SLOTS = 4
WORKER = WorkerSnapshot(name=WorkerId("w"), slots=SLOTS, running=SLOTS, host="h", lease_expires_at_ms=10**9)


def reading(at_ms: int, *, queued: int, attempts: int, run_ms: int) -> QueueSnapshot:
    """A pool whose slots are all busy."""
    routes = (RouteSnapshot(name="default", limit=None, queued={Priority.TASK: queued}, running=SLOTS),)
    return snapshot_with(
        taken_at_ms=at_ms, routes=routes, workers=(WORKER,), attempts_total=attempts, run_ms_total=run_ms
    )


def test_long_jobs_after_a_burst_are_seen_within_seconds():
    """With the operator's points alone the estimate stays that of the burst, wrong by a factor of 2,000."""
    recent = RecentPoints()
    for second in range(10):  # 400 jobs of 10 ms end each second
        recent.add(reading(second * 1_000, queued=10, attempts=400 * second, run_ms=4_000 * second))
    recorded = recent.merged_with(())[:1]
    burst = {"attempts": 3_600, "run_ms": 36_000}
    for second in range(10, 14):  # then jobs of 20 s hold all slots
        now = reading(second * 1_000, queued=39, **burst)
        recent.add(now)
    assert estimated_wait_ms(replace(now, history=recorded)) == 100
    estimate = estimated_wait_ms(replace(now, history=recent.merged_with(recorded)))
    assert 30_000 <= (estimate or 0) <= 40 * 20_000 / SLOTS


def test_points_are_a_second_apart_in_order_and_bounded():
    """Many readings in a second are one point, and the oldest points are forgotten."""
    recent = RecentPoints()
    for at_ms in range(0, 100_000, 250):
        recent.add(reading(at_ms, queued=0, attempts=0, run_ms=0))
    (recorded,) = [point for point in recent.merged_with(()) if point.at_ms == 50_000]
    found = [point.at_ms for point in recent.merged_with((replace(recorded, at_ms=1), replace(recorded, at_ms=60_500)))]
    assert found == sorted(found)
    assert len(found) == POINTS + 2
    assert found[-1] == 99_000
