"""Durations in text form: `500ms`, `30s`, `5m`, `2h`, `1d`; a bare number is seconds.

Follows Kubernetes: `30s` in, `4m12s` out. The commands and the gateway refuse invalid durations each in their own way.
"""

from __future__ import annotations

import re

FORMS = "500ms, 30s, 5m, 2h or 1d"  # the accepted forms, for error messages
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "": 1_000}
_TEXT = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(ms|s|m|h|d|)", re.ASCII)
_WHOLE_SECONDS_FROM_MS = 10_000  # shorter spans are shown with a fraction
_TWO_UNITS_BELOW = 10  # of the larger unit; from there on only the larger unit is shown, as in kubectl


def milliseconds(text: str) -> int | None:
    """Return the duration in milliseconds; None for invalid text."""
    found = _TEXT.fullmatch(text)
    return round(float(found[1]) * _UNIT_MS[found[2]]) if found else None


def format_duration(span_ms: float | None) -> str:
    """Return a duration as `kubectl get` shows an age; `-` for None."""
    if span_ms is None:
        return "-"
    if span_ms < _UNIT_MS["s"]:
        return f"{max(0, round(span_ms))}ms"
    if span_ms < _WHOLE_SECONDS_FROM_MS:
        return f"{span_ms / _UNIT_MS['s']:.1f}s"
    for unit, smaller in (("d", "h"), ("h", "m"), ("m", "s")):
        whole, rest_ms = divmod(int(span_ms), _UNIT_MS[unit])
        if whole:
            rest = rest_ms // _UNIT_MS[smaller]
            return f"{whole}{unit}{rest}{smaller}" if rest and whole < _TWO_UNITS_BELOW else f"{whole}{unit}"
    return f"{int(span_ms / _UNIT_MS['s'])}s"
