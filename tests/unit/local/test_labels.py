"""Passing on the output of several programs."""

import io

from agentpool_local.stack.labels import Labels


def test_output_before_the_release_is_held_and_keeps_its_order():
    """While the system starts, output does not hide an error; later, no line is lost."""
    stream = io.StringIO()
    labels = Labels(stream)
    labels.line("operator", "first")
    assert not stream.getvalue()
    labels.release()
    labels.release()
    labels.line("gateway", "second")
    assert stream.getvalue() == "operator   | first\ngateway    | second\n"


def test_a_muted_part_is_left_out():
    """Lines of the part appear neither before nor after the release."""
    stream = io.StringIO()
    labels = Labels(stream, muted=("redis",))
    labels.line("redis", "WARNING Memory overcommit must be enabled!")
    labels.release()
    labels.line("redis", "bye bye")
    assert not stream.getvalue()
