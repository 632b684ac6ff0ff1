"""The CEL rules of custom types (x-kubernetes-validations), with the error texts of the Kubernetes API server.

A rule that mentions oldSelf holds for updates only, and only if the old value can be identified: fields of objects,
values of maps, elements of map-like lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agentpool_devcluster.api.apply.fieldset import steps
from agentpool_devcluster.api.errors import Cause
from agentpool_devcluster.api.schema.expressions import ExpressionError, compiled, evaluate, to_cel
from agentpool_devcluster.api.schema.node import ANYTHING, Schema

_ABSENT = object()
_OLD = re.compile(r"\boldSelf\b")
_TEXTS = {
    "FieldValueInvalid": 'Invalid value: "{type}": {message}',
    "FieldValueForbidden": "Forbidden: {message}",
    "FieldValueRequired": "Required value: {message}",
    "FieldValueDuplicate": 'Duplicate value: "{type}"',
}


def check_rules(value: Any, schema: Schema, old: Any = _ABSENT, path: str = "") -> Iterator[Cause]:
    """Yield every rule that the value breaks; `old` is the value before an update."""
    if not schema.has_rules_below or value is None:
        return
    if schema.rules:
        seen = to_cel(value, schema)
        before = to_cel(old, schema) if old is not _ABSENT and old is not None else _ABSENT
        for rule in schema.rules:
            yield from _check(rule, seen, before, schema, path)
    if isinstance(value, dict):
        for name, item in value.items():
            child = schema.field(name)
            if child is not None:
                was = old.get(name, _ABSENT) if isinstance(old, dict) else _ABSENT
                named = name in schema.properties
                place = f"{path}.{name}" if path and named else name if named else f"{path}[{name}]"
                yield from check_rules(item, child, was, place)
    elif isinstance(value, list):
        yield from _elements(value, schema, old, path)


def _elements(value: list[Any], schema: Schema, old: Any, path: str) -> Iterator[Cause]:
    child = schema.items or ANYTHING
    correlated = schema.list_type == "map"
    before = dict(steps(old, schema)) if correlated and isinstance(old, list) else {}
    names = [step for step, _ in steps(value, schema)] if correlated else [""] * len(value)
    for index, (name, item) in enumerate(zip(names, value, strict=True)):
        yield from check_rules(item, child, before.get(name, _ABSENT), f"{path}[{index}]")


def _check(rule: Mapping[str, Any], value: Any, old: Any, schema: Schema, path: str) -> Iterator[Cause]:
    text = str(rule.get("rule") or "")
    variables = {"self": value}
    if _OLD.search(text):
        if old is _ABSENT:
            return
        variables["oldSelf"] = old
    kind = schema.type or "object"
    try:
        if evaluate(text, variables) is True:
            return
        message = _message(rule, text, variables)
    except ExpressionError as error:
        message = f"rule evaluation error: {error} evaluating rule: {text}"
    reason = str(rule.get("reason") or "FieldValueInvalid")
    yield Cause(
        reason=reason,
        message=_TEXTS.get(reason, _TEXTS["FieldValueInvalid"]).format(type=kind, message=message),
        field=_place(path, str(rule.get("fieldPath") or "")),
    )


def _message(rule: Mapping[str, Any], text: str, variables: Mapping[str, Any]) -> str:
    expression = rule.get("messageExpression")
    if expression:
        try:
            found = evaluate(str(expression), variables)
        except ExpressionError:
            found = None
        if isinstance(found, str) and found.strip():
            return found.strip()
    return str(rule.get("message") or f"failed rule: {text}").strip()


def _place(path: str, field_path: str) -> str:
    found = re.sub(r"\['([^']*)'\]", r".\1", field_path)
    return (path + found).lstrip(".")


def rule_problems(raw: Any, path: str) -> Iterator[Cause]:
    """Yield the rules of a definition's schema that cannot be compiled."""
    if not isinstance(raw, Mapping):
        return
    for index, rule in enumerate(raw.get("x-kubernetes-validations") or ()):
        place = f"{path}.x-kubernetes-validations[{index}]"
        if rule.get("optionalOldSelf"):
            yield Cause(
                reason="FieldValueNotSupported",
                message="the devcluster does not support optionalOldSelf; use a real cluster for it",
                field=f"{place}.optionalOldSelf",
            )
        for key in ("rule", "messageExpression"):
            if rule.get(key):
                yield from _compile_problem(str(rule[key]), f"{place}.{key}")
    for name, child in (raw.get("properties") or {}).items():
        yield from rule_problems(child, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        yield from rule_problems(raw.get(key), f"{path}.{key}")


def _compile_problem(text: str, place: str) -> Iterator[Cause]:
    try:
        compiled(text)
    except ExpressionError as error:
        yield Cause(reason="FieldValueInvalid", message=f'Invalid value: "{text}": {error}', field=place)
