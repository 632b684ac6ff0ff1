"""Problems of a pool, expected or not: a condition of that pool, never the end of the operator.

A spec, a template, a Secret, a Redis reply or a label may hold anything, and an unexpected value must not stop the
pools of other users. A shared loop catches `Exception` around each pool and passes it to `Failures`, which logs it and
schedules a retry. `conditions` shows the `Problem`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.text import frames_of

if TYPE_CHECKING:
    from collections.abc import Hashable

RETRY_MIN_SECONDS = 0.5  # before the first new attempt
RETRY_MAX_SECONDS = 30.0  # between later attempts
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An obstacle to serving a pool, in the form of a condition."""

    reason: str  # a CamelCase word
    message: str  # a sentence with the remedy; never a value of a Secret
    stops_scaling: bool = True
    refuses_spec: bool = False  # the workers follow an earlier spec: they are scaled, and the pool is not Ready


class Failures:
    """Unexpected errors of a service, counted for each subject."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}  # failures in a row

    def note(self, subject: Hashable, error: Exception, *, doing: str) -> float:
        """Log an error and return the pause until the next attempt, in seconds; it doubles with each repetition.

        The 1st, 2nd, 4th, 8th … error in a row is logged: a lasting error is reported less and less often.
        """
        count = self._counts[subject] = self._counts.get(subject, 0) + 1
        pause_s = float(min(RETRY_MIN_SECONDS * 2 ** min(count, 10), RETRY_MAX_SECONDS))
        if count.bit_count() == 1:
            text = "%s: %s failed %d times in a row and is tried again in %g s; please report this:\n%s"
            log.error(text, subject, doing, count, pause_s, frames_of(error))
        return pause_s

    def reset(self, subject: Hashable) -> None:
        """Start counting again."""
        self._counts.pop(subject, None)


def unexpected_problem(error: Exception, *, reason: str, doing: str) -> Problem:
    """Return the problem for a condition: the class of the error only, because its text may repeat a Secret."""
    return Problem(
        reason=reason,
        message=f"{doing} failed unexpectedly ({type(error).__name__}) and is tried again; "
        "the operator's log has the location, please report this",
        stops_scaling=False,
    )
