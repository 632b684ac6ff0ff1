"""JSON in and out: a value that a Python version could not decode is refused before anything is stored."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_core.errors import InvalidJobError, PayloadTooDeepError
from agentpool_core.queue.codec.json_text import ENVELOPE_DEPTH, MAX_BODY_DEPTH, UndecodableError, decode, encode, parse


def lists(levels: int) -> object:
    """Nested lists."""
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


def dicts(levels: int) -> object:
    """Nested objects, with brackets in their texts."""
    value: object = "[{"
    for _ in range(levels):
        value = {'"[': value}
    return value


def depth_of(value: object) -> int:
    """Levels of containers, counted from inside."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth_of, inner), default=0)
    return 0


@pytest.mark.parametrize("nest", [lists, dicts])
@pytest.mark.parametrize("levels", [MAX_BODY_DEPTH + 1, 600, 990, 1_500, 100_000])
def test_deep_nesting_is_refused_with_its_path(nest, levels: int):
    """The limit belongs to the product: every Python has the same limit, far below the limits of the interpreters."""
    with pytest.raises(PayloadTooDeepError, match=f"result: nested deeper than {MAX_BODY_DEPTH} levels") as caught:
        encode("result", nest(levels))
    assert caught.value.limit == MAX_BODY_DEPTH


@pytest.mark.parametrize("nest", [lists, dicts])
def test_a_value_of_the_allowed_depth_is_unchanged(nest):
    """The limit is inclusive, beside any number of brackets in texts and of shallow containers."""
    value = [nest(MAX_BODY_DEPTH - 1), [[]] * 500, "[{" * 500]
    assert decode(encode("payload", value)) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[", '{"a": 1}x', " 1", "nul", '"\\u12', "\\", "[" * 200, "]" * 200, "[[]" * 300),
        *(
            "[" * 100_000 + "]" * 100_000,
            '{"a":' * 5_000 + "1" + "}" * 5_000,
            "1e999x",
            "\ufeff1",
            '"' + '\\"[' * 9_000,
        ),
    ],
)
def test_a_stored_text_that_is_no_json_is_an_error_of_a_single_kind(text: str):
    """Any unreadable text raises the same class, and the message fits into a line."""
    with pytest.raises(UndecodableError) as caught:
        decode(text)
    assert len(str(caught.value)) < 300


@given(st.text(alphabet='[]{}",:1a\\ ', max_size=400))
def test_any_text_is_decoded_as_python_does_or_refused(text: str):
    """The depth check never refuses shallow JSON and never lets anything but an UndecodableError out."""
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(UndecodableError):
            decode(text)
    else:
        if text == text.strip():
            assert decode(text) == expected
            assert depth_of(expected) <= MAX_BODY_DEPTH


def test_json_from_outside_has_the_same_limit_and_room_for_an_envelope():
    """A request around a body may add levels; the body may not."""
    deep = json.dumps(lists(MAX_BODY_DEPTH))
    assert depth_of(parse("the body", deep)) == MAX_BODY_DEPTH
    with pytest.raises(PayloadTooDeepError, match="the body"):
        parse("the body", f"[{deep}]")
    assert depth_of(parse("the body", f"[{deep}]", envelope=True)) == MAX_BODY_DEPTH + 1
    with pytest.raises(PayloadTooDeepError):
        parse("the body", json.dumps(lists(MAX_BODY_DEPTH + ENVELOPE_DEPTH + 1)), envelope=True)
    for text in ("NaN", "[-Infinity]", "", b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            parse("the body", text)


class Odd(dict):  # type: ignore[type-arg]  # a user's own
    """A dict with methods that raise, like a lazy object."""

    def items(self):
        """Raise an unexpected error."""
        raise KeyError("gone")


class Leaving(list):  # type: ignore[type-arg]  # a user's own
    """A list that ends the process of its reader."""

    def __iter__(self):
        """Raise a BaseException."""
        raise SystemExit(4)


class Interrupted(list):  # type: ignore[type-arg]  # a user's own
    """A list that meets Ctrl-C while it is read."""

    def __iter__(self):
        """Raise the interpreter's exception for Ctrl-C."""
        raise KeyboardInterrupt


class Unprintable:
    """A value that has no text."""

    def __repr__(self) -> str:
        raise RuntimeError("Instance is not bound to a Session")


@pytest.mark.parametrize(
    "value", [Unprintable(), [Unprintable()], {"a": (Unprintable(),)}, Odd(a=1), {Unprintable(): 1}, Leaving([1])]
)
def test_a_value_that_cannot_be_shown_is_refused_by_name(value: object):
    """The error path shows the value safely; only the refusal is raised."""
    with pytest.raises(InvalidJobError, match="result"):
        encode("result", value)


def test_an_interrupt_while_a_value_is_encoded_passes():
    """Ctrl-C ends the program, and is no error of the value."""
    with pytest.raises(KeyboardInterrupt):
        encode("result", Interrupted([1]))


@pytest.mark.parametrize("text", ["1e999", "-1e999", '{"a": [1e400]}', "NaN", "-Infinity"])
def test_a_number_beyond_the_range_of_floats_is_no_json(text: str):
    """Every entrance refuses such a number with the same error, before the types of a protocol."""
    with pytest.raises(ValueError, match="number"):
        parse("body", text)


def test_numbers_within_the_range_of_floats_are_kept():
    """Very small numbers become zero, as Python reads them."""
    assert parse("body", "[1e308, 1.5, 1e-999]") == [1e308, 1.5, 0.0]
