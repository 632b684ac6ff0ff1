"""CEL selectors of devices: the part of the language that claims and classes use.

A selector is rewritten to an expression of Python, parsed and walked; nothing is executed. Supported: the driver, the
attributes and capacities of the device, comparisons, `in`, `&&`, `||`, `!`, `has`, `cel.bind`, `quantity`, `semver`,
and the methods in `_METHODS`. A selector with anything else counts as satisfied; the scheduler's refusals then show the
true number. Regular expressions are left out, because those of Python can take for ever. `devices` asks. Pure.

Source: https://kubernetes.io/docs/reference/using-api/cel/ and the API of ResourceClaims (`CELDeviceSelector`).
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from agentpool_core.kube.quantities import value_of

_TEXT = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_WORDS = ((re.compile(r"&&"), " and "), (re.compile(r"\|\|"), " or "), (re.compile(r"!(?!=)"), " ~"))
_CONSTANTS = {"true": True, "false": False}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, whole: item in whole,
}
_METHODS: dict[str, Callable[..., Any]] = {
    "compareTo": lambda left, right: (left > right) - (left < right),
    "isGreaterThan": operator.gt,
    "isLessThan": operator.lt,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, other: other in text,
    "lowerAscii": str.lower,
}


class _UnknownError(Exception):
    """The selector has a part that is not supported here."""


class _FailedError(Exception):
    """The evaluation fails, for example because the device lacks an attribute."""


def selects(text: str, device: Mapping[str, Any]) -> bool:
    """Return whether a selector selects a device, a mapping with `driver`, `attributes` and `capacity`.

    A selector that fails on the device does not select it; a selector that is not supported here does.
    """
    try:
        return _value(_parsed(text), {"device": device, **_CONSTANTS}) is True
    except (_FailedError, RecursionError):
        return False
    except _UnknownError:
        return True


def version(text: str) -> tuple[int, ...]:
    """Return a semantic version as comparable numbers, without pre-release and build."""
    return tuple(int(part) for part in re.split(r"[-+]", text)[0].split(".") if part.isdigit())


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.expr | None:
    """Return the expression; None = not supported."""
    parts = _TEXT.split(text)
    for number in range(0, len(parts), 2):  # between the quoted texts
        for pattern, word in _WORDS:
            parts[number] = pattern.sub(word, parts[number])
    try:
        return ast.parse(" ".join("".join(parts).split()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr | None, known: Mapping[str, Any]) -> Any:
    """Evaluate a part of the expression. Raises _UnknownError and _FailedError."""
    read = _READ.get(type(node))
    if read is None:
        raise _UnknownError
    return read(node, known)


def _constant(node: ast.Constant, _known: Mapping[str, Any]) -> Any:
    if not isinstance(node.value, bool | int | float | str):
        raise _UnknownError
    return node.value


def _name(node: ast.Name, known: Mapping[str, Any]) -> Any:
    if node.id not in known:
        raise _UnknownError
    return known[node.id]


def _list(node: ast.List, known: Mapping[str, Any]) -> list[Any]:
    """Return a list of plain values: lists of lists, bound to names, would take for ever to compare."""
    items = [_value(item, known) for item in node.elts]
    if any(isinstance(item, list | Mapping) for item in items):
        raise _UnknownError
    return items


def _unary(node: ast.UnaryOp, known: Mapping[str, Any]) -> Any:
    if isinstance(node.op, ast.Invert):
        return not _value(node.operand, known)
    return _applied(operator.neg, _value(node.operand, known))


def _compared(node: ast.Compare, known: Mapping[str, Any]) -> Any:
    if len(node.ops) != 1 or type(node.ops[0]) not in _COMPARISONS:
        raise _UnknownError
    right = _value(node.comparators[0], known)
    return _applied(_COMPARISONS[type(node.ops[0])], _value(node.left, known), right)


def _has(whole: Any, name: str) -> bool:
    """Return whether a map has a key; no other value has fields."""
    if not isinstance(whole, Mapping):
        raise _FailedError
    return name in whole


def _member(whole: Any, name: Any) -> Any:
    try:
        return whole[name]
    except (KeyError, TypeError, IndexError) as error:
        raise _FailedError from error


def _applied(function: Callable[..., Any], *values: Any) -> Any:
    try:
        return function(*values)
    except (TypeError, ValueError) as error:
        raise _FailedError from error


def _joined(node: ast.BoolOp, known: Mapping[str, Any]) -> bool:
    """Return the result of `&&` or `||`: a decisive part outweighs a part that fails, in any order."""
    failed, decisive = False, isinstance(node.op, ast.Or)
    for part in node.values:
        try:
            if bool(_value(part, known)) is decisive:
                return decisive
        except _FailedError:
            failed = True
    if failed:
        raise _FailedError
    return not decisive


def _called(node: ast.Call, known: Mapping[str, Any]) -> Any:
    match node.func, node.args:
        case ast.Name(id="has"), [ast.Attribute(value=whole, attr=name)]:
            return _has(_value(whole, known), name)
        case ast.Name(id="quantity"), [text]:
            return _applied(value_of, _value(text, known))
        case ast.Name(id="semver"), [text]:
            return _applied(version, _value(text, known))
        case ast.Attribute(value=ast.Name(id="cel"), attr="bind"), [ast.Name(id=name), value, rest]:
            return _value(rest, {**known, name: _value(value, known)})
        case ast.Attribute(value=whole, attr=name), arguments if name in _METHODS:
            return _applied(_METHODS[name], *(_value(each, known) for each in (whole, *arguments)))
    raise _UnknownError


_READ: dict[type, Callable[[Any, Mapping[str, Any]], Any]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: lambda node, known: _member(_value(node.value, known), node.attr),
    ast.Subscript: lambda node, known: _member(_value(node.value, known), _value(node.slice, known)),
    ast.List: _list,
    ast.UnaryOp: _unary,
    ast.BoolOp: _joined,
    ast.Compare: _compared,
    ast.Call: _called,
}
