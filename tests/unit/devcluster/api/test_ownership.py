"""Field sets, comparison and apply, as pure functions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentpool_devcluster.api.apply.comparison import compare
from agentpool_devcluster.api.apply.fieldset import decode, describe, encode, fields_of
from agentpool_devcluster.api.apply.managers import (
    Managers,
    Writer,
    after_update,
    apply_configuration,
    read_managers,
    write_managers,
)
from agentpool_devcluster.api.errors import StatusError
from agentpool_devcluster.api.schema.builtin import builtin
from agentpool_devcluster.api.schema.custom import compile_node

SCHEMA = compile_node({
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer"},
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "plain": {"type": "array", "items": {"type": "string"}},
                "whole": {
                    "type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"},
                },
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
                "parts": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                    "items": {
                        "type": "object",
                        "properties": {"id": {"type": "string"}, "a": {"type": "integer"}, "b": {"type": "integer"}},
                    },
                },
            },
        },
    },
})  # fmt: skip
STEPS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
ONE, TWO = (Writer(name=name, api_version="v1") for name in ("one", "two"))


def body(**spec: Any) -> dict:
    return {"metadata": {}, "spec": spec}


def apply(
    live: dict, config: dict, writer: Writer, managers: Managers, *, force: bool = False
) -> tuple[dict, Managers]:
    done = apply_configuration(live, config, SCHEMA, writer, managers, force=force)
    return done.body, done.managers


@given(st.frozensets(st.lists(STEPS, min_size=1, max_size=4).map(tuple), max_size=8))
def test_field_sets_survive_their_wire_form(fields: frozenset) -> None:
    """Encoding and decoding a set of fields gives the set back."""
    assert decode(encode(fields)) == fields


def test_a_configuration_claims_leaves_elements_and_entries() -> None:
    """Leaves, elements and map entries are claimed; atomic values as a whole."""
    claimed = fields_of(
        body(size=1, tags=["t"], plain=["p"], whole={"k": "v"}, map={"m": "1"}, parts=[{"id": "x", "a": 1}]), SCHEMA
    )
    assert encode(claimed) == {
        "f:spec": {
            "f:size": {}, "f:plain": {}, "f:whole": {}, "f:tags": {'v:"t"': {}}, "f:map": {"f:m": {}},
            "f:parts": {'k:{"id":"x"}': {".": {}, "f:id": {}, "f:a": {}}},
        },
    }  # fmt: skip


def test_omitted_keys_take_their_default() -> None:
    """A port without a protocol is keyed as TCP."""
    claimed = fields_of({"ports": [{"containerPort": 80}]}, builtin("V1Container"))
    assert encode(claimed) == {"f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}}


def test_a_comparison_lists_changed_places() -> None:
    """Added, modified and removed places are listed separately."""
    old = body(size=1, map={"a": "1", "b": "1"}, parts=[{"id": "x", "a": 1}, {"id": "y"}])
    new = body(size=2, map={"a": "1", "c": "1"}, parts=[{"id": "x", "a": 2, "b": 3}])
    change = compare(old, new, SCHEMA)
    assert {describe(path) for path in change.modified} == {".spec.size", '.spec.parts[id="x"].a'}
    assert {describe(path) for path in change.added} == {".spec.map.c", '.spec.parts[id="x"].b'}
    assert {describe(path) for path in change.removed} == {
        ".spec.map.b", '.spec.parts[id="y"]', '.spec.parts[id="y"].id',
    }  # fmt: skip


def test_applying_removes_fields_without_an_owner() -> None:
    """Fields, elements, set members and map entries are removed when their only owner drops them."""
    live, managers = apply(
        {"metadata": {}}, body(size=1, tags=["a", "b"], map={"m": "1"}, parts=[{"id": "x"}, {"id": "y"}]), ONE, {}
    )
    live, managers = apply(live, body(size=1, tags=["a"], parts=[{"id": "y"}]), ONE, managers)
    assert live["spec"] == {"size": 1, "tags": ["a"], "parts": [{"id": "y"}]}


def test_elements_keep_fields_of_a_second_owner() -> None:
    """An element that its first owner drops stays with the fields of the second owner."""
    live, managers = apply({"metadata": {}}, body(parts=[{"id": "x", "a": 1}]), ONE, {})
    live, managers = apply(live, body(parts=[{"id": "x", "b": 2}]), TWO, managers)
    live, managers = apply(live, body(), ONE, managers)
    assert live["spec"]["parts"] == [{"id": "x", "b": 2}]


def test_conflicts_list_every_field() -> None:
    """A conflict lists all fields by manager; forcing takes them."""
    live, managers = apply({"metadata": {}}, body(size=1, map={"a": "1"}), ONE, {})
    with pytest.raises(StatusError) as refused:
        apply(live, body(size=2, map={"a": "2"}), TWO, managers)
    assert refused.value.message == 'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.map.a\n- .spec.size'
    live, managers = apply(live, body(size=2, map={"a": "2"}), TWO, managers, force=True)
    assert [key.name for key in managers] == ["two"]


def test_updates_own_changed_places_and_release_removed_places() -> None:
    """An update owns the changed places, also against appliers; removed places have no owner."""
    old, managers = apply({"metadata": {}}, body(size=1, map={"a": "1"}), ONE, {})
    new = body(size=2)
    managers = after_update(managers, old, new, SCHEMA, TWO)
    assert {key.name: encode(owned.fields) for key, owned in managers.items()} == {"two": {"f:spec": {"f:size": {}}}}


def test_the_same_update_again_changes_no_owner() -> None:
    """An update without a change leaves the owners and their times alone."""
    managers = after_update({}, {}, body(size=1), SCHEMA, ONE)
    assert after_update(managers, body(size=1), body(size=1), SCHEMA, TWO) is managers


def test_owners_survive_their_wire_form() -> None:
    """Managers written to metadata.managedFields read back the same, subresources apart."""
    status = Writer(name="one", api_version="v1", subresource="status")
    managers = after_update({}, {}, body(size=1), SCHEMA, ONE)
    managers = after_update(managers, body(size=1), body(size=2), SCHEMA, status)
    stored: dict = {"metadata": {}}
    write_managers(stored, managers)
    assert read_managers(stored) == managers
