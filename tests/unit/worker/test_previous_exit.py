"""The end of a worker process reaches the next process, and the dead letter of its job."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_worker.supervision.previous_exit import (
    MOST_LINE_CHARS,
    MOST_LINES,
    VARIABLE,
    PreviousExit,
    describe_end,
    explains,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def test_an_end_reaches_the_next_worker_unchanged():
    """The next worker reads exactly the supervisor's text."""
    end = PreviousExit(signal="SIGKILL", cause="out of memory", log=("one", "two"))
    assert PreviousExit.from_environment(end.to_environment()) == end


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"x"', "[" * 100_000, "\udcff"])
def test_text_that_is_no_end_counts_as_none(text):
    """A foreign value of the variable does not stop the worker."""
    assert PreviousExit.from_environment({VARIABLE: text}) is None


def test_no_variable_means_no_previous_worker():
    """The first worker of a container has no previous exit."""
    assert PreviousExit.from_environment({}) is None


@given(
    st.dictionaries(st.sampled_from(["exit_code", "signal", "cause", "log", "more"]), json_values)
    | st.dictionaries(st.text(), json_values)
)
def test_any_object_is_read_without_an_error(document):
    """Each field has its type or is absent, for any object."""
    end = PreviousExit.from_environment({VARIABLE: json.dumps(document)})
    assert end is not None
    assert end.exit_code is None or type(end.exit_code) is int
    assert all(isinstance(line, str) for line in end.log)
    "".join((end.signal or "", end.cause or "", *end.log)).encode()


def test_a_long_log_is_shortened():
    """The newest lines stay, each up to the limit."""
    lines = [f"{number}" * 600 for number in range(30)]
    end = PreviousExit.from_environment({VARIABLE: json.dumps({"log": lines})})
    assert end is not None
    assert len(end.log) == MOST_LINES
    assert end.log[-1].startswith("29")
    assert {len(line) for line in end.log} == {MOST_LINE_CHARS}


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
def test_the_end_is_described(previous, words):
    """Signal or exit code, the cause if known, and the last lines of the log."""
    assert describe_end(previous, "w") == words


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
def test_only_an_end_of_the_process_itself_is_a_verdict(previous, explained):
    """A lost node, and a foreign SIGKILL, do not make the job a poison job."""
    assert explains(previous) is explained


def test_an_unseen_end_names_the_place_to_look():
    """After a restart of the whole container, Kubernetes has the reason."""
    assert "kubectl logs --previous" in describe_end(None, "w")
