"""Durations as click options. The commands count in milliseconds."""

from __future__ import annotations

import click

from agentpool_core.durations import FORMS, milliseconds


def duration(text: str) -> int:
    """Return a duration in milliseconds: the type of a click option. Raises BadParameter for an invalid text."""
    span_ms = milliseconds(text)
    if span_ms is None:
        raise click.BadParameter(f"{text!r} is not a span of time; write {FORMS}")
    return span_ms
