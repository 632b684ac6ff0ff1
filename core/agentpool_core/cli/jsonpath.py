r"""`-o jsonpath=TEMPLATE` in the dialect of kubectl: text with paths in braces. Pure.

    {.state}   {[*].job_id}   {.items[0]['name']}   {[?(@.state=="failed")].error}   {range [*]}{.job_id}{"\n"}{end}

A path that meets nothing prints nothing. A space separates several values; objects and lists are printed as JSON.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentpool_core.errors import SettingError

Step: TypeAlias = Callable[[Any], list[Any]]  # from a value to the values that the step selects
_PARTS = re.compile(r"\{((?:[^{}\"']|\"(?:[^\"\\]|\\.)*\"|'[^']*')*)\}|([^{}]+)|(.)", re.DOTALL)
_STEP = re.compile(
    r"\.(?P<name>[\w-]+)|\[(?P<star>\*)\]|\.(?P<all>\*)|\[(?P<index>-?\d+)\]|\['(?P<quoted>[^']*)'\]"
    r"|\[\?\(@(?P<path>[^=!<>]*?)\s*(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>[^)]*)\)\]"
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A part that is repeated for each selected value."""

    path: tuple[Step, ...]
    parts: tuple[Part, ...]


Part: TypeAlias = "str | tuple[Step, ...] | Range"
Pieces: TypeAlias = Sequence[re.Match[str]]


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A template that was read."""

    template: str
    parts: tuple[Part, ...]
    shows_documents: bool = True  # all of a document is needed
    is_table: bool = False

    @classmethod
    def parse(cls, template: str) -> JsonPath:
        """Return the template. Raises SettingError naming the part that cannot be read."""
        given = template if "{" in template else f"{{{template}}}"
        pieces = list(_PARTS.finditer(given))
        parts, rest = _parts(template, pieces, inner=False)
        if rest:
            raise _unreadable(template, "{end} stands without {range}")
        return cls(template, tuple(parts))

    def render(self, document: Any) -> str:
        """Return the template filled from a document."""
        return "".join(_rendered(self.parts, document))


def _parts(template: str, pieces: Pieces, *, inner: bool) -> tuple[list[Part], Pieces]:
    """Return the parts up to `{end}` or the end of the text, and the pieces after it."""
    found: list[Part] = []
    while pieces:
        piece, pieces = pieces[0], pieces[1:]
        if piece[3]:
            raise _unreadable(template, f"a single {piece[3]!r}")
        if piece[2]:
            found.append(piece[2])
            continue
        word = piece[1].strip()
        if word == "end":
            return found, pieces if inner else [piece, *pieces]
        if word.startswith("range "):
            body, pieces = _parts(template, pieces, inner=True)
            found.append(Range(path=_path(template, word.removeprefix("range ").strip()), parts=tuple(body)))
        else:
            found.append(_literal(word) if word[:1] in {'"', "'"} else _path(template, word))
    if inner:
        raise _unreadable(template, "{range} stands without {end}")
    return found, []


def _literal(word: str) -> str:
    if word.startswith("'"):
        return word[1:-1]
    found: str = json.loads(word)
    return found


def _path(template: str, text: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    rest = text.removeprefix("$").removeprefix("@")
    if rest and rest[0] not in ".[":
        raise _unreadable(template, f"{text!r} does not begin with '.' or '['")
    while rest not in {"", "."}:
        found = _STEP.match(rest)
        if found is None:
            raise _unreadable(template, f"{rest!r} is not a path")
        steps.append(_step(template, found))
        rest = rest[found.end() :]
    return tuple(steps)


def _step(template: str, found: re.Match[str]) -> Step:
    if found["star"] or found["all"]:
        return lambda value: list(value.values()) if isinstance(value, dict) else list(_items(value))
    if found["index"]:
        place = int(found["index"])
        return lambda value: [value[place]] if -len(_items(value)) <= place < len(_items(value)) else []
    if found["op"]:
        return _filter(_path(template, found["path"]), _COMPARISONS[found["op"]], _operand(template, found["value"]))
    name = found["name"] or found["quoted"]
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _filter(path: tuple[Step, ...], holds: Callable[[Any, Any], bool], operand: Any) -> Step:
    def keep(value: Any) -> list[Any]:
        return [item for item in _items(value) if any(_holds(holds, found, operand) for found in _select(path, item))]

    return keep


def _holds(holds: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    try:
        return holds(left, right)
    except TypeError:  # a text and a number have no order
        return False


def _operand(template: str, text: str) -> Any:
    try:
        return json.loads(text.strip().replace("'", '"'))
    except ValueError as error:
        raise _unreadable(template, f"{text!r} is neither a text in quotes nor a number") from error


def _select(path: Sequence[Step], value: Any) -> list[Any]:
    found = [value]
    for step in path:
        found = [inner for each in found for inner in step(each)]
    return found


def _rendered(parts: Sequence[Part], document: Any) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, Range):
            for value in _select(part.path, document):
                yield from _rendered(part.parts, value)
        else:
            yield " ".join(_text(value) for value in _select(part, document))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _unreadable(template: str, problem: str) -> SettingError:
    remedy = "write it as kubectl does, for example jsonpath='{range [*]}{.job_id}{\"\\n\"}{end}'"
    return SettingError(field="-o jsonpath", value=template, problem=problem, remedy=remedy)
