r"""Text that is safe to store, log and print, from any source.

Handlers, submitters and stored records supply text and objects. Three functions make them safe: `render_value` turns
any object into a short line and never raises, `encodable` returns text that UTF-8 can encode, and `printable` removes
terminal control characters. Escapes have JSON's form (`\u001b`), so escaped JSON remains the same JSON. Errors and
failed attempts use `render_value`, the queue's connection `encodable`, logs and commands `printable`.
"""

from __future__ import annotations

import re
import reprlib
import traceback

FRAMES = 30  # innermost frames of a traceback that are logged: a RecursionError has a thousand
RENDERED_CHARS = 120  # of an object in a message
_LEVELS = 8  # of nested objects in a message
_ITEMS = 40  # of a container in a message; more would not fit

# C0 but tab and line feed, DEL and C1, line and paragraph separators, marks that reorder text, lone surrogates.
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_CONTROLS}]")
_IN_LINE = re.compile(f"[{_CONTROLS}\t\n]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def encodable(text: str) -> str:
    """Return the text with each lone surrogate escaped, so that UTF-8 can encode it."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: object) -> str:
    """Return the text with control characters escaped, for a terminal; line feeds and tabs stay."""
    return _IN_TEXT.sub(_escape, str(text))


def one_line(text: object) -> str:
    """Return the text as a single line: as `printable`, with line feeds and tabs escaped too."""
    return _IN_LINE.sub(_escape, str(text))


def first_line_of(text: str | None) -> str | None:
    """Return the first line of a text as it is: an error's message without the traceback. None for no text."""
    return text.partition("\n")[0] if text else None


def render_value(value: object, *, longest: int = RENDERED_CHARS) -> str:
    """Return any object as a line of at most `longest` characters. Never raises, regardless of its `__repr__`."""
    try:
        text = one_line(_Repr(longest).repr(value))
    except BaseException as error:  # noqa: BLE001  # SystemExit from a __repr__ must not end the process either
        text = f"<{_type_name(value)} object; repr() raised {_type_name(error)}>"
    return text if len(text) <= longest else text[: longest - 1] + "…"


def render_error(error: BaseException) -> str:
    """Return `Type: message` of an exception. Never raises, regardless of its `__str__`."""
    try:
        message = encodable(f"{error}")
    except BaseException as fault:  # noqa: BLE001  # as above
        message = f"<str() raised {_type_name(fault)}>"
    return f"{_type_name(error)}: {message}" if message else _type_name(error)


def frames_of(error: BaseException) -> str:
    """Return an error and its causes as a traceback without their texts, which may repeat a server's message."""
    parts: list[str] = []
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        frames = traceback.format_tb(cause.__traceback__, limit=-FRAMES)
        parts.append(f"{''.join(frames)}{type(cause).__name__}")
        cause = cause.__cause__ or cause.__context__
    return "\ncaused by:\n".join(parts)


class _Repr(reprlib.Repr):
    """`repr` that stops early: a large or endless value costs only the visible line."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self.maxlevel = _LEVELS
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = self.maxdeque = _ITEMS
        self.maxother = self.maxlong = 2 * longest
        self._longest = longest

    def repr_str(self, value: str, level: int) -> str:
        """Show the beginning of a text."""
        del level
        return repr(value[: self._longest])

    def repr_bytes(self, value: bytes, level: int) -> str:
        """Show the beginning of some bytes."""
        del level
        return repr(value[: self._longest])


def _type_name(value: object) -> str:
    try:
        return encodable(str(type(value).__name__))
    except BaseException:  # noqa: BLE001  # a metaclass may define __name__
        return "unknown"


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 job`, `2 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
