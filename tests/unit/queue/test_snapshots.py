"""Values that follow from a single reading of a queue."""

from __future__ import annotations

from agentpool_core.jobs import WorkerId
from agentpool_core.queue.snapshots import WorkerSnapshot
from tests.fixtures.snapshots import snapshot_with


def test_a_worker_lives_until_its_lease_has_run_out():
    """At the moment of its end a lease is over, as in the queue's scripts."""
    workers = tuple(
        WorkerSnapshot(name=WorkerId(name), slots=1, running=0, host="h", lease_expires_at_ms=ends)
        for name, ends in (("live", 1_001), ("ending", 1_000), ("lost", 999))
    )
    snapshot = snapshot_with(taken_at_ms=1_000, workers=workers)
    assert snapshot.live_workers == workers[:1]
