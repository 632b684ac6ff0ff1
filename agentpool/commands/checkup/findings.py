"""A finding: what was looked at, how it is, and the remedy where it should be otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"  # as it should be
    NOTE = "note"  # could not be looked at, or worth knowing
    WARNING = "warning"  # works, until the day it matters
    FAILURE = "failure"  # does not work


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    check: str  # what was looked at
    level: Level
    found: str  # how it is
    remedy: str | None = None  # what to do; None: nothing


def fine(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, level=Level.OK, found=found)


def note(check: str, found: str, remedy: str | None = None) -> Finding:
    """Worth knowing."""
    return Finding(check=check, level=Level.NOTE, found=found, remedy=remedy)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Works, until the day it matters."""
    return Finding(check=check, level=Level.WARNING, found=found, remedy=remedy)


def failure(check: str, found: str, remedy: str) -> Finding:
    """Does not work."""
    return Finding(check=check, level=Level.FAILURE, found=found, remedy=remedy)
