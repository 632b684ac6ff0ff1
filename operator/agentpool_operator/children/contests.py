"""Contests about a Deployment: a different manager reverts each correction.

A few corrections are immediate, as for a mistake by hand. Later corrections are damped, so two controllers do not write
without end, and a condition names the manager. A mark on the Deployment identifies a second AgentPool operator: of two
operators of the same pool, the operator with the later name yields. Used by `applier`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FREE_CORRECTIONS = 3  # immediate corrections
WINDOW_SECONDS = 600.0  # in which corrections count together
FIRST_PAUSE_SECONDS = 5.0  # before the first damped correction; doubles with each
LONGEST_PAUSE_SECONDS = 300.0
YIELD_SECONDS = 300.0  # before a pool of a different operator is checked again


@dataclass(slots=True)
class _Contest:
    corrections: list[float] = field(default_factory=list)  # seconds, monotonic
    yielded_until: float = float("-inf")  # seconds, monotonic


class Contests:
    """The contests, by the Deployment's uid."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._contests: dict[str, _Contest] = {}

    def may_correct(self, uid: str) -> bool:
        """Return whether a correction is due now."""
        recent = self._recent(uid)
        if len(recent) < FREE_CORRECTIONS:
            return True
        damping = 2.0 ** min(len(recent) - FREE_CORRECTIONS, 10)
        return self._clock() - recent[-1] >= min(FIRST_PAUSE_SECONDS * damping, LONGEST_PAUSE_SECONDS)

    def note_correction(self, uid: str) -> None:
        """Record a correction."""
        self._contests.setdefault(uid, _Contest()).corrections = [*self._recent(uid), self._clock()]

    def yields(self, uid: str, *, own: str, other: str) -> bool:
        """Return whether this operator leaves the Deployment to the operator of the mark.

        The first conflict takes the mark over, in case the second operator is gone. If the mark returns, that operator
        is alive.
        """
        contest = self._contests.get(uid)
        if contest is None:
            return False
        if self._clock() >= contest.yielded_until and own > other and self._recent(uid):
            contest.yielded_until = self._clock() + YIELD_SECONDS
            contest.corrections = []
        return self._clock() < contest.yielded_until

    def forget(self, uid: str) -> None:
        """Forget a deleted Deployment."""
        self._contests.pop(uid, None)

    def _recent(self, uid: str) -> list[float]:
        contest = self._contests.get(uid)
        return [] if contest is None else [at for at in contest.corrections if self._clock() - at < WINDOW_SECONDS]
