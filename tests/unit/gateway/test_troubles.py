"""Troubles of a pool: what the list of pools says, in which order."""

from __future__ import annotations

from typing import Any

import pytest

from agentpool_core.jobs import Priority, WorkerId
from agentpool_core.queue.snapshots import LimitSnapshot, RouteSnapshot, WorkerSnapshot
from agentpool_gateway.troubles import STARTED_WITHIN_MS, Severity, troubles_of
from tests.fixtures.snapshots import snapshot_with

NOW = 1_000_000
NOT_READY = {
    "conditions": [{"type": "Ready", "status": "False", "reason": "CrashLoopBackOff", "message": "no module"}],
    "limited": {"reason": "MaxReplicas", "message": "raise it"},
}
WAITING = (RouteSnapshot(name="default", limit=None, queued={Priority.TASK: 3}, running=0),)


def worker(*, running: int = 0, lease_ms: int = 1, note: str = "") -> WorkerSnapshot:
    """A worker whose lease ends after the reading, or before it."""
    return WorkerSnapshot(
        name=WorkerId("w"), slots=2, running=running, host="h", note=note, lease_expires_at_ms=NOW + lease_ms
    )


@pytest.mark.parametrize(
    ("queue", "scaling", "found"),
    [
        ({}, {}, []),
        ({"workers": (worker(running=2),)}, {}, []),
        ({"routes": WAITING, "oldest_wait_ms": STARTED_WITHIN_MS - 1}, {}, []),
        ({"routes": WAITING, "oldest_wait_ms": STARTED_WITHIN_MS + 1}, {}, [("ERROR", "NoWorker")]),
        ({"workers": (worker(running=1, lease_ms=-1),)}, {}, [("ERROR", "WorkersLost")]),
        ({"workers": (worker(note="disk full"),)}, {}, [("WARNING", "WorkersImpeded")]),
        ({"paused": True}, {}, [("NOTE", "Paused")]),
        ({"paused": True, "routes": WAITING, "oldest_wait_ms": NOW}, {}, [("WARNING", "Paused")]),
        ({"dead": 2, "quarantined": 1}, {}, [("WARNING", "Quarantine"), ("NOTE", "DeadLetters")]),
        ({}, NOT_READY, [("ERROR", "CrashLoopBackOff")]),
        ({"routes": WAITING, "dead": 1}, NOT_READY,
         [("ERROR", "CrashLoopBackOff"), ("WARNING", "MaxReplicas"), ("NOTE", "DeadLetters")]),
        ({"retired": True, "dead": 1}, NOT_READY, [("NOTE", "Deleted")]),
        ({"limits": (LimitSnapshot(name="rpm", by=None, text="2 at once", waiting=4, routes=(), free=0,
                                   interval_ms=None),)}, {}, [("NOTE", "Limited")]),
    ],
)  # fmt: skip
def test_troubles_come_with_their_reason_the_worst_first(
    queue: dict[str, Any], scaling: dict[str, Any], found: list[tuple[str, str]]
):
    """A pool in order has none; jobs without a worker are trouble only after the time that a start takes."""
    troubles = troubles_of(snapshot_with(**{"taken_at_ms": NOW, **queue}), scaling)
    assert [(trouble.severity.name, trouble.reason) for trouble in troubles] == found
    assert all(trouble.message for trouble in troubles)
    assert sorted(troubles, key=lambda trouble: trouble.severity) == troubles
    assert Severity.ERROR < Severity.NOTE
