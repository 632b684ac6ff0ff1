"""Objects and text from outside: shown in a line, encodable, harmless in a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_core.errors import InvalidJobError
from agentpool_core.text import RENDERED_CHARS, encodable, one_line, printable, render_error, render_value


class Raises:
    """An object with a `__repr__` that raises, like an ORM's detached object."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


class NoText:
    """An object with a `__repr__` that returns no text."""

    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]  # the mistake under test


class WordlessError(Exception):
    """An error with a `__str__` that raises an error."""

    def __str__(self) -> str:
        raise WordlessError


def nested(levels: int) -> object:
    """Nested dicts."""
    value: object = 0
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (Raises(RuntimeError("not bound to a Session")), "Raises"),
        (Raises(SystemExit(3)), "repr() raised SystemExit"),
        ([Raises(RecursionError())], "Raises"),
        (NoText(), "NoText"),
        (nested(1_500), "{'a': {'a': "),
        (list(range(1_000_000)), "[0, 1, 2"),
        (10**6_000, "<int"),
        ("caf\udce9.pdf", "'caf\\udce9.pdf'"),
        ("\x1b[31mred\u202e", "'\\x1b[31mred\\u202e'"),
        ("x" * 10_000_000, "…"),
    ],
    ids=range(10),
)
def test_any_object_is_shown_in_a_short_line(value: object, part: str):
    """An object has a line even if its `__repr__` raises, and an error can name the object."""
    line = render_value(value)
    assert part in line
    assert len(line) <= RENDERED_CHARS
    assert line == one_line(encodable(line))
    assert line in str(InvalidJobError(field="result", value=value, problem="p", remedy="r"))


@pytest.mark.parametrize(
    "error", [WordlessError(), ValueError("caf\udce9"), KeyError(), OSError(2, "\udc80", "\udc81")]
)
def test_any_error_is_shown(error: BaseException):
    """An error without readable text has its type; the text can always be encoded."""
    line = render_error(error)
    assert line.startswith(type(error).__name__)
    line.encode()


@given(st.text(alphabet=st.characters(codec=None)))
def test_printable_text_contains_no_control_sequence(text: str):
    """No escape sequence, no reordering mark and no lone surrogate is left; harmless text is unchanged."""
    for safe, kept in ((printable(text), "\n\t"), (one_line(text), "")):
        safe.encode()
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in safe if c not in kept)
        assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u2028\u2029") & set(safe)
    assert printable("Grüße, 世界 👩‍🔬\n\tdone") == "Grüße, 世界 👩‍🔬\n\tdone"


@given(st.text(alphabet=st.characters(codec=None)))
def test_escaped_json_is_the_same_json(text: str):
    """Escaped JSON decodes to the original value."""
    assert json.loads(printable(json.dumps({text: text}, ensure_ascii=False))) == {text: text}
