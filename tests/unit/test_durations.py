"""Spans of time, typed and shown."""

from __future__ import annotations

import click
import pytest

from agentpool_core.cli.durations import duration
from agentpool_core.durations import format_duration, milliseconds


@pytest.mark.parametrize(
    ("text", "span_ms"),
    [
        ("500ms", 500),
        ("30s", 30_000),
        ("1.5s", 1_500),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("7", 7_000),
    ],
)
def test_a_span_is_read(text: str, span_ms: int):
    """Each unit counts in milliseconds; a bare number is seconds."""
    assert milliseconds(text) == duration(text) == span_ms


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 s", "1w", "5s\n", "٣s", "9" * 400])
def test_a_text_that_is_no_span_is_refused_with_the_remedy(text: str):
    """The error names the value and the correct form."""
    assert milliseconds(text) is None
    with pytest.raises(click.BadParameter, match="write 500ms, 30s"):
        duration(text)


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (None, "-"),
        (0, "0ms"),
        (999, "999ms"),
        (1_250, "1.2s"),
        (45_000, "45s"),
        (252_000, "4m12s"),
        (1_200_000, "20m"),
        (90_000_000, "1d1h"),
    ],
)
def test_a_span_is_shown_as_kubectl_shows_ages(span_ms: int | None, text: str):
    """Two units while the larger is small, then the larger alone."""
    assert format_duration(span_ms) == text
