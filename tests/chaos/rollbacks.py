"""What the judge must know of a rollback: when it was, and which events Redis still has. Pure.

What was promised between the moment that Redis went back to and its return may be forgotten; whatever Redis still knows
is held to every promise. Who takes over next: `history` forgets events, `load` marks promises, `checker` excuses runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SLACK_SECONDS = 5.0  # for a handler that was given its job just before, to write down that it began


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """One time that Redis went back."""

    since: float  # time.monotonic() of the moment that it went back to
    until: float  # time.monotonic() of its return
    newest: str  # the entry id of the newest event that it still has

    def covers(self, at: float) -> bool:
        """Whether Redis may have forgotten what happened then."""
        return self.since <= at <= self.until + SLACK_SECONDS


def survives(event_id: str, newest: str) -> bool:
    """Whether an event is one that Redis still has."""
    return _order(event_id) <= _order(newest)


def excused(run: Mapping[str, Any], rollbacks: Iterable[Rollback]) -> bool:
    """Whether a line that a handler wrote may belong to a claim that Redis has forgotten."""
    return any(rollback.covers(run["at"]) for rollback in rollbacks if "at" in run)


def _order(place: str) -> tuple[int, ...]:
    return tuple(map(int, place.partition(".")[0].split("-")))
