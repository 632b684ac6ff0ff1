"""How long ago something was, in the short form kubectl shows: 12s, 5m3s, 2d4h."""

from __future__ import annotations

from datetime import UTC, datetime

from agentpool_devcluster.api.objects import Json, metadata, parse_timestamp

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_YEAR = 365 * _DAY


def age_of(body: Json) -> str:
    """Return an object's age, or <unknown>."""
    created = parse_timestamp(metadata(body).get("creationTimestamp"))
    return duration_text(created) if created else "<unknown>"


def duration_text(since: datetime, now: datetime | None = None) -> str:
    """Return the time since a moment in short form."""
    seconds = int(((now or datetime.now(UTC)) - since).total_seconds())
    return "0s" if seconds <= 0 else short(seconds)


def short(seconds: int) -> str:
    """Return a number of seconds in short form: the finer unit is dropped where it no longer matters."""
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 10 * _MINUTE:
        return _two(seconds, _MINUTE, "m", 1, "s")
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 8 * _HOUR:
        return _two(seconds, _HOUR, "h", _MINUTE, "m")
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h"
    if seconds < 8 * _DAY:
        return _two(seconds, _DAY, "d", _HOUR, "h")
    if seconds < 2 * _YEAR:
        return f"{seconds // _DAY}d"
    return _two(seconds, _YEAR, "y", _DAY, "d")


def _two(seconds: int, unit: int, name: str, small: int, small_name: str) -> str:
    rest = seconds % unit // small
    return f"{seconds // unit}{name}{rest}{small_name}" if rest else f"{seconds // unit}{name}"
