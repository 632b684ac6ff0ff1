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


# Upper bound in seconds: the unit, and the finer unit shown beside it.
_SCALES = (
    (2 * _MINUTE, (1, "s"), None),
    (10 * _MINUTE, (_MINUTE, "m"), (1, "s")),
    (3 * _HOUR, (_MINUTE, "m"), None),
    (8 * _HOUR, (_HOUR, "h"), (_MINUTE, "m")),
    (2 * _DAY, (_HOUR, "h"), None),
    (8 * _DAY, (_DAY, "d"), (_HOUR, "h")),
    (2 * _YEAR, (_DAY, "d"), None),
)
_LARGEST = ((_YEAR, "y"), (_DAY, "d"))


def short(seconds: int) -> str:
    """Return a number of seconds in short form; a finer unit is dropped for long times."""
    unit, finer = next((scale[1:] for scale in _SCALES if seconds < scale[0]), _LARGEST)
    text = f"{seconds // unit[0]}{unit[1]}"
    rest = seconds % unit[0] // finer[0] if finer else 0
    return f"{text}{rest}{finer[1]}" if finer and rest else text
