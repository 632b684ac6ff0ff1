"""Quantities, pruning, defaults, validation and rules of a schema."""

from __future__ import annotations

from typing import Any

import pytest

from agentpool_devcluster.api.quantities import canonical
from agentpool_devcluster.api.schema.builtin import builtin
from agentpool_devcluster.api.schema.custom import compile_node, custom
from agentpool_devcluster.api.schema.defaulting import apply_defaults, normalise
from agentpool_devcluster.api.schema.expressions import ExpressionError, evaluate
from agentpool_devcluster.api.schema.pruning import prune
from agentpool_devcluster.api.schema.rules import check_rules
from agentpool_devcluster.api.schema.validation import validate


@pytest.mark.parametrize(("given", "shown"), [
    ("0.5", "500m"), ("1024Mi", "1Gi"), (1, "1"), ("1000m", "1"), ("1.5Gi", "1536Mi"), ("1e3", "1k"), ("0", "0"),
    (0.1, "100m"), ("1000Mi", "1000Mi"), ("-1", "-1"), ("nonsense", "nonsense"), (True, True),
])  # fmt: skip
def test_quantities_have_a_canonical_form(given: Any, shown: Any) -> None:
    """A quantity is written in the largest unit that keeps the number whole; different values are left alone."""
    assert canonical(given) == shown


def test_built_in_types_come_with_their_merge_keys() -> None:
    """The schema of a pod has fields, descriptions and the merge keys of lists."""
    spec = builtin("V1PodSpec")
    containers = spec.properties["containers"]
    assert (containers.list_type, containers.list_keys, containers.patch_key) == ("map", ("name",), "name")
    assert spec.properties["tolerations"].list_type == "atomic"
    assert spec.properties["volumes"].patch_strategy == ("merge", "retainKeys")
    assert builtin("V1ServicePort").properties["targetPort"].int_or_string
    assert "containers" in spec.required
    assert containers.description


def test_unknown_fields_of_built_in_types_are_pruned_and_named() -> None:
    """Pruning removes unknown fields, also deep inside lists, and names their paths."""
    pod = {"spec": {"containers": [{"name": "a", "imagge": "x"}], "nodeSelector": {"free": "form"}}, "speck": 1}
    assert prune(pod, builtin("V1Pod")) == ["spec.containers[0].imagge", "speck"]
    assert pod == {"spec": {"containers": [{"name": "a"}], "nodeSelector": {"free": "form"}}}


def test_nulls_of_built_in_types_mean_absent() -> None:
    """Null is removed unless the schema allows null; quantities become canonical."""
    container = {"name": "a", "env": None, "resources": {"limits": {"cpu": 0.5}}}
    normalise(container, builtin("V1Container"))
    assert container == {"name": "a", "resources": {"limits": {"cpu": "500m"}}}


def test_embedded_metadata_survives_in_custom_types() -> None:
    """apiVersion, kind and metadata of a custom object are known without being declared."""
    body = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a", "odd": 1}, "spec": {"odd": 1}}
    prune(body, custom({"type": "object", "properties": {"spec": {"type": "object"}}}))
    assert body == {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "spec": {}}


def test_defaults_apply_inside_default_objects() -> None:
    """A default object gets the defaults of its fields; present values stay."""
    schema = compile_node({
        "type": "object",
        "properties": {"a": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 3}}}},
    })  # fmt: skip
    empty: dict = {}
    apply_defaults(empty, schema)
    assert empty == {"a": {"b": 3}}
    given = {"a": {"b": 0}}
    apply_defaults(given, schema)
    assert given == {"a": {"b": 0}}


@pytest.mark.parametrize(("schema", "value", "message"), [
    ({"type": "string", "minLength": 2}, "a", 'Invalid value: "a": x in body should be at least 2 chars long'),
    ({"type": "string", "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
    ({"type": "string", "pattern": "^a+$"}, "b", "Invalid value: \"b\": x in body should match '^a+$'"),
    (
        {"type": "number", "exclusiveMinimum": True, "minimum": 0}, 0,
        "Invalid value: 0: x in body should be greater than 0",
    ),
    ({"type": "integer", "multipleOf": 5}, 7, "Invalid value: 7: x in body should be a multiple of 5"),
    ({"type": "array", "maxItems": 1, "items": {"type": "integer"}}, [1, 2], "Too many: 2: must have at most 1 items"),
    (
        {"x-kubernetes-int-or-string": True}, 1.5,
        'Invalid value: "number": x in body must be of type integer,string: "number"',
    ),
    ({"type": "boolean"}, 1, 'Invalid value: "integer": x in body must be of type boolean: "integer"'),
    ({"type": "integer"}, True, 'Invalid value: "boolean": x in body must be of type integer: "boolean"'),
    (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 1},
        'Invalid value: "object": x in body must validate one and only one schema (oneOf)',
    ),
])  # fmt: skip
def test_validation_speaks_as_kubernetes_does(schema: dict, value: Any, message: str) -> None:
    """Each keyword refuses in the words of a real API server."""
    assert [cause.message for cause in validate(value, compile_node(schema), "x")] == [message]


def test_nullable_values_may_be_null() -> None:
    """Null is a value only if the schema permits null."""
    assert not list(validate(None, compile_node({"type": "string", "nullable": True}), "x"))
    assert list(validate(None, compile_node({"type": "string"}), "x"))


@pytest.mark.parametrize("rule", [
    "!has(self.min) || self.min <= self.max", "self.routes.all(r, r.kinds.size() > 0)",
    "self.routes.exists_one(r, r.name == 'a')", "[has(self.http), has(self.python)].filter(x, x).size() == 1",
    "self.name.matches('^[a-z]+$')", "'x' in self.labels", "self.ratio * 2.0 > 1.0", "size(self.routes) == 2",
    "self.name.split('b').size() == 2", "self.name.lowerAscii() == 'abc'",
    "quantity('1Gi').isGreaterThan(quantity('1Mi'))",
    "'%s is %d'.format([self.name, 3]) == 'abc is 3'", "duration('5s') < duration('1m')", "self.whole == 2.0",
    "self.__in__ == 1",
])  # fmt: skip
def test_expressions_that_hold(rule: str) -> None:
    """The part of CEL that definitions use is understood."""
    schema = compile_node({
        "type": "object", "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"whole": {"type": "number"}, "in": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": rule}],
    })  # fmt: skip
    value = {
        "min": 2, "max": 3, "ratio": 0.6, "whole": 2, "name": "abc", "http": {}, "labels": {"x": "1"}, "in": 1,
        "routes": [{"name": "a", "kinds": ["x"]}, {"name": "b", "kinds": ["y"]}],
    }  # fmt: skip
    assert not list(check_rules(value, schema))


@pytest.mark.parametrize(("rule", "said"), [
    ("self.none == 1", "no such key: none"), ("self.a / 0 == 1", "division by zero"),
    ("self.a >", "compilation failed"),
    ("self.?a.hasValue()", "does not support"), ("ip('::1') == 1", "does not support"),
])  # fmt: skip
def test_expressions_that_fail_report_the_cause(rule: str, said: str) -> None:
    """An expression that cannot be compiled or evaluated reports the cause."""
    with pytest.raises(ExpressionError, match=said.replace("(", r"\(")):
        evaluate(rule, {"self": {"a": 1}})


def test_transition_rules_follow_list_elements_by_key() -> None:
    """A rule with oldSelf inside a map-like list compares the elements with the same key."""
    schema = compile_node({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
        "items": {
            "type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n", "message": "must not shrink"}],
        },
    })  # fmt: skip
    old = [{"id": "a", "n": 5}, {"id": "b", "n": 1}]
    new = [{"id": "b", "n": 2}, {"id": "a", "n": 4}, {"id": "c", "n": 0}]
    assert [(cause.field, cause.message) for cause in check_rules(new, schema, old, "x")] == [
        ("x[1]", 'Invalid value: "object": must not shrink')
    ]
