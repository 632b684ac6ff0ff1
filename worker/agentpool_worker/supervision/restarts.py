"""Decide whether and when an ended worker process is restarted in the container. Pure.

`agentpool_worker.supervision.supervisor` asks after each end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_worker.supervision.exits import RESTART
from agentpool_worker.supervision.lifeline import Phase

if TYPE_CHECKING:
    from agentpool_worker.supervision.previous_exit import PreviousExit

START_SECONDS = 600.0  # for a worker to start, as long as the startup probe allows
SHORT_LIFE_SECONDS = 60.0  # an earlier end delays the next start
MOST_UNREADY = 3  # ends in a row before the worker served; then the container ends, for the kubelet to see
MOST_SHORT_LIVES = 10  # ends in a row of whatever kind
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerEnd:
    """End of a worker process."""

    exit: PreviousExit
    phase: Phase
    lived_seconds: float
    wanted: bool  # the worker was asked to leave, or killed by a signal sent on purpose

    @property
    def abnormal(self) -> bool:
        """Whether the end was chosen neither by the worker nor from outside, or requests a restart."""
        if self.wanted:
            return False
        return self.exit.signal is not None or self.phase is Phase.SERVING or self.exit.exit_code == RESTART


class Restarts:
    """Counts ends in a row."""

    def __init__(self) -> None:
        self._unready = 0
        self._short = 0

    def pause_after(self, end: WorkerEnd) -> float | None:
        """Return the seconds until the next start; None: no restart, the container ends."""
        if not end.abnormal:
            return None
        self._unready = self._unready + 1 if end.phase <= Phase.WAITING else 0
        self._short = self._short + 1 if end.lived_seconds < SHORT_LIFE_SECONDS else 0
        if self._unready >= MOST_UNREADY or self._short >= MOST_SHORT_LIVES:
            return None
        if self._short == 0:
            return 0.0
        return min(_FIRST_PAUSE_SECONDS * 2.0 ** (self._short - 1), _LONGEST_PAUSE_SECONDS)
