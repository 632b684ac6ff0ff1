"""The patch formats without ownership, as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_devcluster.api.errors import StatusError
from agentpool_devcluster.api.patch.json_patch import json_patch
from agentpool_devcluster.api.patch.merge_patch import merge_patch
from agentpool_devcluster.api.patch.strategic import strategic_merge
from agentpool_devcluster.api.schema.builtin import builtin

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
POD = builtin("V1PodSpec")


def without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


@given(st.dictionaries(st.text(max_size=2), VALUES), st.dictionaries(st.text(max_size=2), VALUES))
def test_a_merge_patch_is_idempotent_and_changes_no_input(target: dict, patch: dict) -> None:
    """Merging twice is merging once, and neither input is changed."""
    before = (repr(target), repr(patch))
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once
    assert (repr(target), repr(patch)) == before


def test_null_removes_in_a_merge_patch() -> None:
    """Null removes a field; lists are replaced whole."""
    assert merge_patch({"a": 1, "b": [1, 2], "c": {"d": 1}}, {"a": None, "b": [3], "c": {"e": 2}}) == {
        "b": [3], "c": {"d": 1, "e": 2},
    }  # fmt: skip


@pytest.mark.parametrize(("operations", "expected"), [
    ([{"op": "add", "path": "/a/-", "value": 3}], {"a": [1, 2, 3], "b~/": 0}),
    ([{"op": "add", "path": "/a/0", "value": 0}], {"a": [0, 1, 2], "b~/": 0}),
    ([{"op": "remove", "path": "/a/1"}], {"a": [1], "b~/": 0}),
    ([{"op": "replace", "path": "/b~0~1", "value": 9}], {"a": [1, 2], "b~/": 9}),
    ([{"op": "move", "from": "/b~0~1", "path": "/c"}], {"a": [1, 2], "c": 0}),
    ([{"op": "copy", "from": "/a/0", "path": "/c"}], {"a": [1, 2], "b~/": 0, "c": 1}),
    ([{"op": "test", "path": "/a", "value": [1, 2]}], {"a": [1, 2], "b~/": 0}),
])  # fmt: skip
def test_json_patch_operations(operations: list, expected: dict) -> None:
    """Every operation of RFC 6902 has the standard effect."""
    assert json_patch({"a": [1, 2], "b~/": 0}, operations) == expected


@pytest.mark.parametrize(("operation", "code"), [
    ({"op": "remove", "path": "/none"}, 422),
    ({"op": "replace", "path": "/none", "value": 1}, 422),
    ({"op": "add", "path": "/a/7", "value": 1}, 422),
    ({"op": "test", "path": "/a", "value": 1}, 422),
    ({"op": "turn", "path": "/a"}, 400),
    ({"path": "/a"}, 400),
])  # fmt: skip
def test_json_patches_that_cannot_be_applied(operation: dict, code: int) -> None:
    """A patch that cannot be applied is refused and changes nothing."""
    target = {"a": [1]}
    with pytest.raises(StatusError) as refused:
        json_patch(target, [operation])
    assert (refused.value.code, target) == (code, {"a": [1]})


def containers(*names: str) -> dict:
    return {"containers": [{"name": name, "image": "x"} for name in names]}


def test_strategic_lists_merge_by_key() -> None:
    """Elements are found by key; new elements are added at the end."""
    patch = {"containers": [{"name": "b", "image": "y"}, {"name": "c", "image": "z"}]}
    merged = strategic_merge(containers("a", "b"), patch, POD)
    assert [(item["name"], item["image"]) for item in merged["containers"]] == [("a", "x"), ("b", "y"), ("c", "z")]


def test_strategic_directives() -> None:
    """$patch deletes and replaces, $setElementOrder orders, $retainKeys keeps only the named keys."""
    base = containers("a", "b")
    assert strategic_merge(base, {"containers": [{"name": "a", "$patch": "delete"}]}, POD) == containers("b")
    replaced = strategic_merge(base, {"containers": [{"name": "z", "image": "x"}, {"$patch": "replace"}]}, POD)
    assert replaced == containers("z")
    ordered = strategic_merge(base, {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}, POD)
    assert ordered == containers("b", "a")
    deployment = builtin("V1DeploymentSpec")
    strategy = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    recreate = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    assert strategic_merge(strategy, recreate, deployment) == {"strategy": {"type": "Recreate"}}


def test_strategic_sets_of_values() -> None:
    """A list of plain values is merged as a set, and values are deleted by a directive."""
    meta = builtin("V1ObjectMeta")
    merged = strategic_merge({"finalizers": ["a", "b"]}, {"finalizers": ["b", "c"]}, meta)
    assert merged == {"finalizers": ["a", "b", "c"]}
    assert strategic_merge(merged, {"$deleteFromPrimitiveList/finalizers": ["a"]}, meta) == {"finalizers": ["b", "c"]}


def test_atomic_lists_are_replaced() -> None:
    """A list without a merge strategy is replaced whole."""
    merged = strategic_merge({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, POD)
    assert merged == {"tolerations": [{"key": "b"}]}
