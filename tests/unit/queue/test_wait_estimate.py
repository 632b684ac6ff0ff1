"""The estimate of a new task's wait: of the present work, in place of the mean since the pool began."""

from __future__ import annotations

from agentpool_core.jobs import Priority, WorkerId
from agentpool_core.queue.snapshots import HistoryPoint, QueueSnapshot, RouteSnapshot, WorkerSnapshot
from agentpool_core.queue.wait_estimate import estimated_wait_ms
from tests.fixtures.snapshots import snapshot_with

BURST = 10_000  # jobs of 10 ms each, before
SLOTS = 4


def point(at_ms: int, *, attempts: int, run_ms: int, running: int = SLOTS) -> HistoryPoint:
    """A point of the history, with the fields that the estimate reads."""
    return HistoryPoint(
        at_ms=at_ms, queued=0, running=running, slots=SLOTS, started=0, finished=0, failed=0, attempts=attempts,
        run_ms=run_ms,
    )  # fmt: skip


def reading(at_ms: int, history: list[HistoryPoint], *, attempts: int, run_ms: int, **more: object) -> QueueSnapshot:
    """A busy pool with 39 ready jobs, at a moment."""
    worker = WorkerSnapshot(name=WorkerId("w"), slots=SLOTS, running=SLOTS, host="h", lease_expires_at_ms=at_ms + 1)
    return snapshot_with(**{
        "taken_at_ms": at_ms,
        "routes": (RouteSnapshot(name="default", limit=None, queued={Priority.TASK: 39}, running=SLOTS),),
        "workers": (worker,),
        "attempts_total": attempts,
        "run_ms_total": run_ms,
        "history": tuple(history),
        **more,
    })  # fmt: skip


def test_a_burst_of_short_jobs_does_not_hide_long_jobs():
    """Jobs of 20 s after a burst of 10 ms each: the estimate is exact after a few ends, and near it before.

    The mean since the pool began would say 0.1 s in place of 200 s.
    """
    history = [point(0, attempts=0, run_ms=0, running=0), point(30_000, attempts=BURST, run_ms=BURST * 10)]
    exact_ms = 40 * 20_000 / SLOTS
    for at_ms, ended in ((50_000, 0), (55_000, 4), (100_000, 12)):
        now = reading(at_ms, history, attempts=BURST + ended, run_ms=BURST * 10 + ended * 20_000)
        estimate = estimated_wait_ms(now)
        assert estimate is not None
        assert exact_ms / 3 <= estimate <= exact_ms * 4
    history.append(point(90_000, attempts=BURST + 12, run_ms=BURST * 10 + 240_000))
    later = reading(120_000, history, attempts=BURST + 16, run_ms=BURST * 10 + 320_000)
    assert estimated_wait_ms(later) == exact_ms


def test_long_jobs_of_the_past_do_not_hide_short_jobs():
    """After an hour of 60 s jobs, jobs of 100 ms are estimated by the latest ends."""
    history = [point(0, attempts=240, run_ms=240 * 60_000)]
    now = reading(10_000, history, attempts=640, run_ms=240 * 60_000 + 400 * 100)
    assert estimated_wait_ms(now) == round(40 * 100 / SLOTS)


def test_slots_of_lost_workers_and_paused_pools_start_nothing():
    """The wait is unknown there; a number would be a promise."""
    lost = reading(1_000, [], attempts=10, run_ms=100, workers=(
        WorkerSnapshot(name=WorkerId("w"), slots=SLOTS, running=SLOTS, host="h", lease_expires_at_ms=1),))  # fmt: skip
    assert estimated_wait_ms(lost) is None
    assert estimated_wait_ms(reading(1_000, [], attempts=10, run_ms=100, paused=True)) is None


def test_counters_that_began_again_are_not_compared():
    """A point from before a reset has higher totals than now: the mean of the totals decides."""
    now = reading(10_000, [point(0, attempts=900, run_ms=900)], attempts=10, run_ms=1_000)
    assert estimated_wait_ms(now) == round(40 * 100 / SLOTS)


def busy(*, queued: int, running: int, slots: int, attempts: int, run_ms: int) -> QueueSnapshot:
    """A pool without a history."""
    worker = WorkerSnapshot(name=WorkerId("w"), slots=slots, running=running, host="h", lease_expires_at_ms=1)
    return snapshot_with(
        routes=(RouteSnapshot(name="default", limit=None, queued={Priority.TASK: queued}, running=running),),
        workers=(worker,) if slots else (),
        attempts_total=attempts,
        run_ms_total=run_ms,
    )


def test_the_estimate_is_zero_with_a_free_slot_and_unknown_without_a_measure():
    """A free slot: 0. No worker, or no finished job: unknown. Otherwise: backlog times run time over slots."""
    assert estimated_wait_ms(busy(queued=0, running=1, slots=2, attempts=0, run_ms=0)) == 0
    assert estimated_wait_ms(busy(queued=5, running=0, slots=0, attempts=9, run_ms=9)) is None
    assert estimated_wait_ms(busy(queued=5, running=2, slots=2, attempts=0, run_ms=0)) is None
    assert estimated_wait_ms(busy(queued=9, running=2, slots=2, attempts=10, run_ms=1_000)) == 500
