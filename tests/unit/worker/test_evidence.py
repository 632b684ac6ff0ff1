"""What a dead letter says of the process that ended under it."""

from __future__ import annotations

import pytest

from agentpool_worker.supervision.evidence import explains, words_of
from agentpool_worker.supervision.previous_exit import PreviousExit


@pytest.mark.parametrize(
    ("previous", "words"),
    [
        (PreviousExit(exit_code=3), "the process of worker w ended with exit code 3"),
        (PreviousExit(signal="SIGSEGV"), "the process of worker w was killed by SIGSEGV"),
        (
            PreviousExit(signal="SIGKILL", cause="out of memory", log=("one", "two")),
            "the process of worker w was killed by SIGKILL (out of memory)\nLast log lines of the process:\none\ntwo",
        ),
        (PreviousExit(), "the process of worker w ended"),
    ],
)
def test_the_end_is_told_in_words(previous, words):
    """Signal or exit code, the cause where it is known, and the last lines of the log."""
    assert words_of(previous, "w") == words


@pytest.mark.parametrize(
    ("previous", "explained"),
    [
        (PreviousExit(signal="SIGSEGV"), True),
        (PreviousExit(exit_code=0), True),
        (PreviousExit(signal="SIGKILL", cause="out of memory"), True),
        (PreviousExit(signal="SIGKILL", cause="killed from outside"), False),
        (None, False),
    ],
)
def test_only_an_end_that_came_from_within_is_a_verdict(previous, explained):
    """A node that went down, and somebody's SIGKILL, say nothing of the job that ran alone."""
    assert explains(previous) is explained


def test_an_end_that_nobody_saw_says_where_to_look():
    """Where the whole container was restarted, Kubernetes knows more."""
    assert "kubectl logs --previous" in words_of(None, "w")
