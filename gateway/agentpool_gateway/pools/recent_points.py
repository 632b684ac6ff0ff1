"""The newest readings of a pool as points of its history, for the estimate of a wait.

The operator's points are half a minute apart: right after a burst of short jobs they say nothing of the long jobs that
took the slots. A gateway with an open console reads the queue every second, and so knows of them within seconds.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from agentpool_core.queue.snapshots import HistoryPoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.queue.snapshots import QueueSnapshot

POINTS = 60
APART_MS = 1_000  # at least, between two points


class RecentPoints:
    """The latest readings of a pool, by this gateway."""

    def __init__(self) -> None:
        self._points: deque[HistoryPoint] = deque(maxlen=POINTS)

    def add(self, snapshot: QueueSnapshot) -> None:
        """Keep a reading, unless the newest point is too recent."""
        newest = self._points[-1].at_ms if self._points else -APART_MS
        if snapshot.taken_at_ms - newest >= APART_MS:
            self._points.append(_point_of(snapshot))

    def merged_with(self, recorded: Sequence[HistoryPoint]) -> tuple[HistoryPoint, ...]:
        """Return the recorded points with these, oldest first."""
        return tuple(sorted((*recorded, *self._points), key=lambda point: point.at_ms))


def _point_of(snapshot: QueueSnapshot) -> HistoryPoint:
    return HistoryPoint(
        at_ms=snapshot.taken_at_ms,
        queued=snapshot.queued,
        running=snapshot.running,
        slots=snapshot.slots,
        started=snapshot.started_total,
        finished=snapshot.finished_total,
        failed=0,  # a snapshot has no total of failures, and no estimate needs it
        attempts=snapshot.attempts_total,
        run_ms=snapshot.run_ms_total,
    )
