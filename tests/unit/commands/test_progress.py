"""The progress bar of commands, where there is none."""

from __future__ import annotations

import pytest

from agentpool_core.cli.progress import show_progress


def test_nothing_is_counted_where_no_bar_is_drawn(capsys: pytest.CaptureFixture[str]):
    """Counting may mean reading a large file; a script's standard error stays empty."""
    asked = []
    with show_progress("submitting", lambda: asked.append("how many")) as progress:
        progress(1)
    assert asked == []
    assert capsys.readouterr().err == ""
