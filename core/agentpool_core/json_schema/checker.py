"""Compare values with schemas: the place of the first difference, within bounded work.

The library compiles patterns for an engine of linear time, reads no file and no address, and leaves values out of its
messages, because a payload may hold secrets. A value for which the check could take long is refused as well.
`queue.schemas` looks up the schema of a job's kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jsonschema_rs

from agentpool_core.errors import SchemaMismatchError
from agentpool_core.json_schema.rules import Schema, SchemaError, check_rules
from agentpool_core.text import one_line

MOST_CHECKS = 2_000_000  # parts of a schema times values of a payload: about a second
_TEXT_BYTES_A_VALUE = 32  # of texts that a pattern may read
_COMPILED_PATTERN_BYTES = 100_000
_PROBLEM_CHARS = 300
_MASK = "the value"
_REMEDY = "send a value that fits the schema of the kind"
_SCHEMAS_KEPT = 512


class Checker:
    """A compiled schema."""

    def __init__(self, schema: Schema) -> None:
        """Raises SchemaError for a schema that is not accepted."""
        self._parts = check_rules(schema)
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                dict(schema),
                validate_formats=False,
                offline=True,
                mask=_MASK,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_COMPILED_PATTERN_BYTES),
            )
        except jsonschema_rs.ValidationError as error:
            place = "/".join(["#", *map(str, error.instance_path)])
            raise SchemaError(f"{place}: {_line(error.message)}; {_remedy(error.message)}") from None
        except ValueError as error:
            raise SchemaError("#: a text holds half of a surrogate pair; write complete characters") from error

    def check(self, field: str, value: Any) -> None:
        """Raise SchemaMismatchError with the path of the first part of `value` that does not fit."""
        self._check_size(field, value)
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            found = _innermost(error)
            path = field + _path_text(found.instance_path)
            raise SchemaMismatchError(field=path, value=None, problem=_line(found.message), remedy=_REMEDY) from None
        except UnicodeEncodeError as error:
            problem, remedy = "a text holds half of a surrogate pair", "send complete characters"
            raise SchemaMismatchError(field=field, value=None, problem=problem, remedy=remedy) from error

    def _check_size(self, field: str, value: Any) -> None:
        if self._parts * _size(value) > MOST_CHECKS:
            raise SchemaMismatchError(
                field=field,
                value=None,
                problem=f"too large for a schema of {self._parts} parts: more than {MOST_CHECKS} checks",
                remedy="send large data by reference, or simplify the schema of the kind",
            )


@lru_cache(maxsize=_SCHEMAS_KEPT)
def checker_of(text: str) -> Checker:
    """Return the checker for a schema as JSON text, compiled once. Raises SchemaError."""
    try:
        return Checker(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, SchemaError) else SchemaError(f"#: not JSON: {one_line(error)}") from error


def _size(value: Any) -> int:
    """Return the number of values in a value; a long text counts as several."""
    if isinstance(value, str):
        return 1 + len(value) // _TEXT_BYTES_A_VALUE
    if isinstance(value, dict):
        return 1 + sum(_size(inner) + 1 + len(name) // _TEXT_BYTES_A_VALUE for name, inner in value.items())
    return 1 + sum(map(_size, value)) if isinstance(value, list | tuple) else 1


def _innermost(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
    """Return the error deepest in the value among those of a union's branches; a shallow one names the whole union."""
    branches = getattr(error.kind, "context", None) or ()
    inner = [_innermost(found) for branch in branches for found in branch]
    return max([error, *inner], key=lambda found: len(found.instance_path))


def _remedy(message: str) -> str:
    if message.endswith('is not a "regex"'):
        return "write a regular expression without look-around and back-references, and with smaller repetitions"
    return "write it as JSON Schema 2020-12 says"


def _path_text(path: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _line(message: str) -> str:
    return one_line(message)[:_PROBLEM_CHARS]
