"""Passing on what several programs say."""

import io

from agentpool_local.stack.labels import Labels


def test_what_is_said_before_the_release_is_held_and_comes_in_order():
    """While the system starts nothing hides an error; afterwards nothing is lost."""
    stream = io.StringIO()
    labels = Labels(stream)
    labels.line("operator", "first")
    assert not stream.getvalue()
    labels.release()
    labels.release()
    labels.line("gateway", "second")
    assert stream.getvalue() == "operator   | first\ngateway    | second\n"


def test_a_part_of_no_interest_is_left_out():
    """Its lines come neither before nor after the release."""
    stream = io.StringIO()
    labels = Labels(stream, muted=("redis",))
    labels.line("redis", "WARNING Memory overcommit must be enabled!")
    labels.release()
    labels.line("redis", "bye bye")
    assert not stream.getvalue()
