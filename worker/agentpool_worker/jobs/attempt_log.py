"""A log line for each attempt that failed or was deferred: job, consequence, and the error's first line.

The queue's answer decides the consequence, so the line is written after the settle. The record keeps the traceback,
which is logged at debug level only. A handler that always fails must not drown the rest of the log: for each kind and
outcome the first lines of a window are written, the rest is counted, and the count is logged at the end of the window.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

from agentpool_core.queue.completions import Failed, Returned, ReturnReason, SettleOutcome
from agentpool_core.text import one_line
from agentpool_worker.telemetry.label_limiter import LabelLimiter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool_core.jobs import Lease
    from agentpool_core.queue.completions import Completion

log = logging.getLogger(__name__)

LINES_A_WINDOW = 20  # of each kind of job and outcome
WINDOW_SECONDS = 10.0
_LONGEST_LINE = 300  # characters of the error; the record has all of it

_FOLLOWS = {  # outcome: level, consequence, and its machine-readable name
    SettleOutcome.RETRYING: (logging.WARNING, "failed and is retried", "retry"),
    SettleOutcome.DEAD: (logging.ERROR, "failed for good: a dead letter", "dead"),
    SettleOutcome.RETURNED: (logging.INFO, "is deferred and does not count", "deferred"),
}


class FailureLog:
    """Writes the lines. Used from the jobs' event loop only."""

    def __init__(self, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._seen: Counter[tuple[str, SettleOutcome]] = Counter()  # attempts in this window
        self._kinds = LabelLimiter(others="other kinds")
        self._window: asyncio.TimerHandle | None = None  # rings when the window ends

    def record(
        self, leases: Iterable[Lease], completions: Iterable[Completion], outcomes: Iterable[SettleOutcome]
    ) -> None:
        """Log the failed and deferred attempts of a settled batch."""
        for lease, completion, outcome in zip(leases, completions, outcomes, strict=True):
            if outcome in _FOLLOWS and (error := _error_of(completion)) is not None:
                self._attempt(lease, outcome, error)

    def close(self) -> None:
        """End the window now."""
        if self._window is not None:
            self._window.cancel()
            self._end_window()

    def _attempt(self, lease: Lease, outcome: SettleOutcome, error: str) -> None:
        key = self._kinds.name(lease.kind), outcome
        self._seen[key] += 1
        if self._window is None:
            self._window = asyncio.get_running_loop().call_later(self._window_seconds, self._end_window)
        if self._seen[key] > LINES_A_WINDOW:
            return
        level, follows, word = _FOLLOWS[outcome]
        headline = _headline(error)
        fields = {
            "job_id": lease.job_id,
            "kind": lease.kind,
            "attempt": lease.attempt,
            "max_attempts": lease.max_attempts,
            "outcome": word,
            "error": headline,
        }
        log.log(
            level, "job %s (%s): attempt %d of %d %s: %s",
            lease.job_id, lease.kind, lease.attempt, lease.max_attempts, follows, headline, extra=fields,
        )  # fmt: skip
        log.debug("job %s (%s): the whole error: %s", lease.job_id, lease.kind, error, extra=fields)

    def _end_window(self) -> None:
        self._window = None
        for (kind, outcome), seen in self._seen.items():
            if seen > LINES_A_WINDOW:
                level, follows, word = _FOLLOWS[outcome]
                fields = {"kind": kind, "outcome": word, "not_shown": seen - LINES_A_WINDOW}
                log.log(level, "%s: %d more attempts, not shown, of which each %s",
                        kind, seen - LINES_A_WINDOW, follows, extra=fields)  # fmt: skip
        self._seen.clear()


def _headline(error: str) -> str:
    """Return the error's first line, plus the last line if the first only introduces a standard error output."""
    lines = error.strip().splitlines() or [""]
    fields = f"{lines[0]} … {lines[-1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    return one_line(fields[:_LONGEST_LINE])


def _error_of(completion: Completion) -> str | None:
    """Return the problem; None without a problem (a drain or a preemption)."""
    match completion:
        case Failed(error=error):
            return error
        case Returned(reason=ReturnReason.OVERLOADED | ReturnReason.UNKNOWN_KIND, said=said):
            return said
        case Returned(reason=ReturnReason.UNFIT, said=said):
            return f"the worker {said}"
        case _:
            return None
