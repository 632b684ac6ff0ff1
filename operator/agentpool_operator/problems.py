"""What keeps a pool from being served, also where nobody expected it: a condition of that pool, never the end of all.

A spec, a template, a Secret, a Redis reply or a label may hold anything, and what nobody has thought of must not stop
the pools of everybody else. Whoever works on pools in a shared loop catches `Exception` around each pool and gives it
to `Failures`, which logs it and says when to try again. `conditions` shows the `Problem`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool.text import frames_of

if TYPE_CHECKING:
    from collections.abc import Hashable

RETRY_MIN_S = 0.5  # seconds before the first new attempt
RETRY_MAX_S = 30.0  # seconds between later attempts
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that keeps a pool from being served, as a condition shows it."""

    reason: str  # one CamelCase word
    message: str  # a sentence with the remedy; never a value of a Secret
    stops_scaling: bool = True


class Failures:
    """Unexpected errors of one service, counted for each of the things that it works on."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}  # failures in a row

    def note(self, subject: Hashable, error: Exception, *, doing: str) -> float:
        """Log an error and return the pause until the next attempt, in seconds; it doubles with each one in a row.

        The 1st, 2nd, 4th, 8th … error in a row is logged: a lasting one is reported ever less often.
        """
        count = self._counts[subject] = self._counts.get(subject, 0) + 1
        pause_s = float(min(RETRY_MIN_S * 2 ** min(count, 10), RETRY_MAX_S))
        if count.bit_count() == 1:
            text = "%s: %s failed %d times in a row and is tried again in %g s; please report this:\n%s"
            log.error(text, subject, doing, count, pause_s, frames_of(error))
        return pause_s

    def succeeded(self, subject: Hashable) -> None:
        """Start counting anew."""
        self._counts.pop(subject, None)


def unexpected(error: Exception, *, reason: str, doing: str) -> Problem:
    """Return the problem that a condition shows: the kind of the error, for its text may repeat a Secret."""
    return Problem(
        reason=reason,
        message=f"{doing} failed unexpectedly ({type(error).__name__}) and is tried again; "
        "the operator's log says where, please report it",
        stops_scaling=False,
    )
