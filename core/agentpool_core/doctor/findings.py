"""A finding: check, result, and remedy if needed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agentpool_core.errors import AgentPoolError


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"  # as expected
    NOTE = "note"  # not checked, or worth knowing
    WARNING = "warning"  # works, with a risk
    FAILURE = "failure"  # does not work


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A line of the doctor's report."""

    check: str  # name of the check
    level: Level
    found: str  # result
    remedy: str | None = None  # action for the user; None: no action


def fine(check: str, found: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check=check, level=Level.OK, found=found)


def note(check: str, found: str, remedy: str | None = None) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(check=check, level=Level.NOTE, found=found, remedy=remedy)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Return a finding that works, with a risk."""
    return Finding(check=check, level=Level.WARNING, found=found, remedy=remedy)


def failure(check: str, found: str, remedy: str) -> Finding:
    """Return a finding that does not work."""
    return Finding(check=check, level=Level.FAILURE, found=found, remedy=remedy)


def failure_of(check: str, error: AgentPoolError) -> Finding:
    """Return the failure of a check that raised an error."""
    return Finding(check=check, level=Level.FAILURE, found=error.detail, remedy=error.remedy or None)
