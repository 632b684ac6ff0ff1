"""Schemas of payloads: the place of a difference, the accepted schemas, and schemas that would harm the checker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from agentpool_core.errors import SchemaMismatchError
from agentpool_core.json_schema import Checker, SchemaError, checker_of
from agentpool_core.json_schema.patterns import weight_of

ORDER: dict[str, Any] = {
    "type": "object",
    "required": ["items"],
    "additionalProperties": False,
    "properties": {
        "items": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "note": {"type": "string", "pattern": "^(a+)+$"},
    },
}


class Tree(BaseModel):
    """A model that contains itself in each of three fields."""

    name: str
    left: Tree | None = None
    right: Tree | None = None
    others: list[Tree] = []


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"items": [{}, {"name": 5}]}, "payload.items[1].name"),
        ({"items": [], "more": 1}, "payload"),
        ({}, "payload"),
        ("text", "payload"),
        ("\ud800", "payload"),
        ({"items": [], "note": "a" * 500_000 + "b"}, "payload.note"),
    ],
)
def test_a_difference_is_named_by_its_path(value: Any, path: str):
    """The error names the path of the first difference and a remedy, and never the value."""
    with pytest.raises(SchemaMismatchError) as raised:
        Checker(ORDER).check("payload", value)
    assert raised.value.field == path
    assert raised.value.remedy
    assert "aaa" not in str(raised.value)


def test_the_schemas_of_pydantic_are_accepted():
    """A recursive model's own schema is accepted, and an error in a union names the innermost place."""
    checker = Checker(Tree.model_json_schema())
    checker.check("payload", {"name": "a", "left": {"name": "b"}, "others": [{"name": "c"}]})
    with pytest.raises(SchemaMismatchError, match=r"^payload\.left\.right\.name: "):
        checker.check("payload", {"name": "a", "left": {"name": "b", "right": {"name": 5}}})


def _laughs() -> dict[str, Any]:
    doubled = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, 40)}
    return {"$defs": {"d0": {"type": "integer"}, **doubled}, "$ref": "#/$defs/d39"}


def _hidden(named: str, *place: str) -> dict[str, Any]:
    """Return a schema with a harmless definition, whose name is also the pointer to a different definition."""
    reference = {"$ref": f"#/$defs/{named}"}
    doubled: dict[str, Any] = {"type": "array", "items": {"anyOf": [reference, reference]}}
    for name in reversed(place):
        doubled = {name: doubled}
    return {"$defs": {named: True, **doubled}, **reference}


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"$ref": "http://169.254.169.254/schema.json"}, "not a definition of this schema"),
        ({"$ref": "file:///etc/passwd"}, "not a definition of this schema"),
        ({"$ref": "#/properties/a", "properties": {"a": {}}}, "not a definition of this schema"),
        ({"$ref": ["#"]}, "not a definition of this schema"),
        (_hidden("a/b", "a", "b"), "letters, digits"),
        (_hidden("a~1b", "a/b"), "letters, digits"),
        (_hidden("a%62", "ab"), "letters, digits"),
        ({"$id": "http://example.com/a"}, r"\$id is not accepted"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, r"\$schema"),
        ({"properties": {"a": {"$dynamicRef": "#a"}}}, "#/properties/a: "),
        ({"$ref": "#"}, "again at the same value"),
        ({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}, "again at a"),
        ({"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}}, "again at"),
        (_laughs(), "more than 2000 parts"),
        ({"enum": [0] * 3_000}, "more than 2000 parts"),
        ({"description": "x" * 20_000}, "more than 16384"),
        (_deep(2_000), "more than 64 levels"),
        ({"pattern": "((a{1000}){1000}){1000}"}, "more than 2000 parts"),
        ({"allOf": [{"pattern": "[ab]*a[ab]{900}c"}] * 3}, "more than 2000 parts"),
        ({"pattern": "a" * 201}, "more than 200 characters"),
        (
            {"pattern": "(?=a)b"},
            'is not a "regex"; write a regular expression without look-around',
        ),
        ({"type": "text"}, "#/type"),
        ({"properties": []}, "#/properties"),
        ({"allOf": {}}, "#/allOf"),
        ({"unevaluatedProperties": False}, "additionalProperties"),
        ({"default": float("nan")}, "JSON cannot express it"),
        ({"description": "\ud800"}, "half of a surrogate pair"),
        ([], "not a JSON object"),
        (True, "not a JSON object"),
    ],
)
def test_a_harmful_or_broken_schema_is_refused(schema: Any, problem: str):
    """A schema that reads elsewhere, takes long or is no schema is refused with place and remedy."""
    with pytest.raises(SchemaError, match=problem):
        Checker(schema)


def test_a_value_that_takes_long_is_refused():
    """A value is refused whose check against a large schema could hold the process."""
    checker = Checker({"items": {"enum": [{"a": number} for number in range(900)]}})
    checker.check("payload", [{"a": 899}] * 100)
    with pytest.raises(SchemaMismatchError, match="more than 2000000 checks"):
        checker.check("payload", [{"a": 899}] * 10_000)


@pytest.mark.parametrize(
    ("pattern", "weight"),
    [
        ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 31),
        ("[]a]{30}", 30),
        (r"\p{Greek}{40}", 40),
        ("(?:ab){20}", 100),
        ("(a{30}){30}", 930),
        ("a{2,500}", 500),
        ("a{500,}", 500),
        ("a{99999999999}", 999_999),
    ],
)
def test_a_pattern_weighs_its_repetitions(pattern: str, weight: int):
    """A counted repetition weighs as if it were written out: the engine's time for a character grows with that."""
    assert weight_of(pattern) == weight


def test_a_published_text_that_is_no_json_is_a_broken_schema():
    """The text of a different version raises the error of a broken schema."""
    for text in ("{", "[" * 10_000, json.dumps(5)):
        with pytest.raises(SchemaError):
            checker_of(text)
