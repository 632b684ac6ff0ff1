"""Writes that the API server has refused: repeated after a pause that doubles, not at every pass.

A quota or a policy may refuse the Deployment of many pools at once. A changed desired state is written at once. Used
by `applier`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_operator.pools.problems import Problem

FIRST_PAUSE_SECONDS = 5.0  # before a refused write is tried again; doubles with each refusal
LONGEST_PAUSE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refused:
    digest: str  # of the refused object
    problem: Problem
    pause_s: float  # seconds
    until: float  # seconds, monotonic


class RefusedWrites:
    """The refusals, by the AgentPool's uid."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[str, _Refused] = {}

    def problem_of(self, uid: str, digest: str) -> Problem | None:
        """Return the problem of a write that is not due; None = write."""
        known = self._refused.get(uid)
        if known is None or known.digest != digest or self._clock() >= known.until:
            return None
        return known.problem

    def note(self, uid: str, digest: str, problem: Problem) -> None:
        """Record a refusal."""
        known = self._refused.get(uid)
        again = known is not None and known.digest == digest
        pause_s = min(2 * known.pause_s, LONGEST_PAUSE_SECONDS) if known is not None and again else FIRST_PAUSE_SECONDS
        until = self._clock() + pause_s
        self._refused[uid] = _Refused(digest=digest, problem=problem, pause_s=pause_s, until=until)

    def forget(self, uid: str) -> None:
        """Forget a pool after a successful write or a deletion."""
        self._refused.pop(uid, None)
