"""The judge's knowledge of a rollback: the time, and the events that Redis still has. Pure.

Promises between the restored moment and the restart of Redis may be lost; every promise applies to all that Redis still
has. The next modules are `history`, which forgets events, `load`, which marks promises, and `checker`, which excuses
runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SLACK_SECONDS = 5.0  # for a handler that got the job just before, to log the start


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """A single rollback of Redis."""

    since: float  # time.monotonic() of the restored moment
    until: float  # time.monotonic() of the restart
    newest: str  # the entry id of the newest event in Redis

    def covers(self, at: float) -> bool:
        """Return whether Redis may have lost the events of that time."""
        return self.since <= at <= self.until + SLACK_SECONDS


def survives(event_id: str, newest: str) -> bool:
    """Return whether Redis still has an event."""
    return _order(event_id) <= _order(newest)


def excused(run: Mapping[str, Any], rollbacks: Iterable[Rollback]) -> bool:
    """Return whether a handler's line may belong to a claim that Redis has lost."""
    return any(rollback.covers(run["at"]) for rollback in rollbacks if "at" in run)


def _order(place: str) -> tuple[int, ...]:
    return tuple(map(int, place.partition(".")[0].split("-")))
