"""CEL expressions: compiled once, evaluated over JSON values as the API server does.

The `cel` library provides the language; the functions that Kubernetes adds are defined here. Unsupported features
(optional syntax, the url and ip libraries…) do not compile, and a definition that uses them is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from agentpool_devcluster.api.schema.node import ANYTHING, Schema
from agentpool_devcluster.kube.quantity import parse_quantity

_RESERVED = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while",
})  # fmt: skip
_OPTIONAL_SYNTAX = re.compile(r"\.\?|\[\?|\boptional\.|\.orValue\(|\.optMap\(")
_UNSUPPORTED = re.compile(r"\b(url|ip|cidr|isURL|isIP|isCIDR|semver|isSemver|format\.named|format\.[a-zA-Z0-9]+)\s*\(")


class ExpressionError(Exception):
    """An expression that does not compile or cannot be evaluated; the text says why."""


@lru_cache(maxsize=2048)
def compiled(text: str) -> Any:
    """Compile an expression. Raises ExpressionError."""
    unsupported = _OPTIONAL_SYNTAX.search(text) or _UNSUPPORTED.search(text)
    if unsupported:
        raise ExpressionError(
            f"the devcluster's CEL does not support {unsupported.group().strip()!r}; use a real cluster for it"
        )
    import cel

    try:
        return cel.compile(text)
    except ValueError as error:
        reason = " ".join(str(error).split("ERROR:")[-1].split("\n")[0].split())
        raise ExpressionError(f"compilation failed: {reason}") from error


def evaluate(text: str, variables: Mapping[str, Any]) -> Any:
    """Evaluate an expression. Raises ExpressionError."""
    import cel

    program = compiled(text)
    context = cel.Context()
    for name, function in FUNCTIONS.items():
        if name in text:
            context.add_function(name, function)
    for name, value in variables.items():
        context.add_variable(name, value)
    try:
        return program.execute(context)
    except KeyError as error:
        raise ExpressionError(f"no such key: {error.args[0] if error.args else error}") from error
    except (ValueError, RuntimeError, TypeError, ArithmeticError, IndexError) as error:
        raise ExpressionError(str(error)) from error


def to_cel(value: Any, schema: Schema) -> Any:
    """Return a JSON value in CEL form: numbers as doubles, awkward field names escaped."""
    if isinstance(value, dict):
        return {
            _escaped(name) if name in schema.properties else name: to_cel(item, schema.field(name) or ANYTHING)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [to_cel(item, schema.items or ANYTHING) for item in value]
    if schema.type == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if schema.type == "integer" and isinstance(value, float):
        return int(value)
    return value


def _escaped(name: str) -> str:
    if name in _RESERVED:
        return f"__{name}__"
    if name.isidentifier() and "__" not in name:
        return name
    for plain, escape in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(plain, escape)
    return name


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _format(template: str, values: list[Any]) -> str:
    rest = iter(values)
    return re.sub(r"%(?:\.\d+)?([sdf])|%%", lambda m: "%" if m[0] == "%%" else _text(next(rest)), template)


def _is_quantity(text: Any) -> bool:
    try:
        parse_quantity(str(text))
    except ValueError:
        return False
    return True


def _substring(text: str, start: int, end: int | None = None) -> str:
    return text[start:end]


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    return text.replace(old, new, limit)


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found.group() if found else ""


def _quantity(text: str) -> float:
    return float(parse_quantity(text))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "split": lambda text, separator: text.split(separator),
    "join": lambda items, separator="": separator.join(items),
    "lowerAscii": lambda text: text.lower(),
    "upperAscii": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "replace": _replace,
    "substring": _substring,
    "indexOf": lambda where, what: where.find(what) if isinstance(where, str) else _position(where, what),
    "lastIndexOf": lambda text, what: text.rfind(what),
    "charAt": lambda text, index: text[index : index + 1],
    "format": _format,
    "find": _find,
    "findAll": lambda text, pattern: [found.group() for found in re.finditer(pattern, text)],
    "isSorted": lambda items: list(items) == sorted(items),
    "sum": sum,
    "quantity": _quantity,
    "isQuantity": _is_quantity,
    "isGreaterThan": lambda one, other: one > other,
    "isLessThan": lambda one, other: one < other,
    "compareTo": lambda one, other: (one > other) - (one < other),
}


def _position(items: list[Any], what: Any) -> int:
    return items.index(what) if what in items else -1
