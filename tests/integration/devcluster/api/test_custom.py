"""Custom resources over HTTP: definitions, validation, defaults, pruning, rules, scale, tables."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.devcluster import APPLY, STRATEGIC, ApiClient

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRANES = "/apis/example.org/v1/namespaces/default/cranes"
MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


def definition(**version: Any) -> dict:
    spec = {
        "type": "object",
        "required": ["load"],
        "properties": {
            "load": {"type": "integer", "minimum": 1, "maximum": 100},
            "limit": {"type": "integer", "default": 50},
            "mode": {"type": "string", "enum": ["Slow", "Fast"], "default": "Slow"},
            "reach": {"x-kubernetes-int-or-string": True},
            "replicas": {"type": "integer"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "routes": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "max": {"type": "integer", "default": 1}},
                },
            },
        },
        "x-kubernetes-validations": [
            {"rule": "self.load <= self.limit", "message": "load must not exceed limit", "fieldPath": ".load"},
            {
                "rule": "self.limit == oldSelf.limit",
                "messageExpression": "'limit was ' + string(oldSelf.limit) + ' and stays so'",
            },
        ],
    }
    status = {
        "type": "object",
        "properties": {"lifted": {"type": "integer"}, "replicas": {"type": "integer"}, "selector": {"type": "string"}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "cranes.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "cranes", "kind": "Crane", "shortNames": ["cr"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector",
                    },
                },
                "additionalPrinterColumns": [
                    {"name": "Load", "type": "integer", "jsonPath": ".spec.load"},
                    {"name": "Limit", "type": "integer", "jsonPath": ".spec.limit", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                **version,
            }],
        },
    }  # fmt: skip


def crane(name: str = "one", **spec: Any) -> dict:
    return {
        "apiVersion": "example.org/v1", "kind": "Crane", "metadata": {"name": name}, "spec": {"load": 10, **spec},
    }  # fmt: skip


@pytest.fixture
async def cranes(api: ApiClient) -> ApiClient:
    await api.create(DEFINITIONS, definition())
    return api


async def test_a_definition_is_established_and_discovered(cranes: ApiClient) -> None:
    """A new definition is Established at once, and discovery lists the resource."""
    found = await cranes.get(f"{DEFINITIONS}/cranes.example.org")
    assert {item["type"]: item["status"] for item in found["status"]["conditions"]} == {
        "NamesAccepted": "True", "Established": "True",
    }  # fmt: skip
    assert found["status"]["storedVersions"] == ["v1"]
    listed = await cranes.get("/apis/example.org/v1")
    assert {item["name"] for item in listed["resources"]} == {"cranes", "cranes/status", "cranes/scale"}


async def test_defaults_are_filled_and_unknown_fields_pruned(cranes: ApiClient) -> None:
    """Defaults are filled in, also in list elements; unknown fields are removed, except in preserved data."""
    body = crane(nonsense=1, free={"a": {"b": 1}}, routes=[{"name": "x"}], reach="25%")
    spec = (await cranes.create(CRANES, body))["spec"]
    assert spec == {
        "load": 10, "limit": 50, "mode": "Slow", "free": {"a": {"b": 1}}, "routes": [{"name": "x", "max": 1}],
        "reach": "25%",
    }  # fmt: skip


async def test_a_null_without_meaning_counts_as_absent(cranes: ApiClient) -> None:
    """A null becomes the default or is removed, except in free-form data, for every kind of write."""
    body = crane(limit=None, reach=None, free={"a": None})
    spec = (await cranes.create(CRANES, body))["spec"]
    assert spec == {"load": 10, "limit": 50, "mode": "Slow", "free": {"a": None}}
    applied = {"apiVersion": "example.org/v1", "kind": "Crane", "metadata": {"name": "one"}, "spec": {"reach": None}}
    assert (await cranes.apply(f"{CRANES}/one", applied, "somebody")).status == 200


@pytest.mark.parametrize("validation", ["Strict", "Warn", "Ignore"])
@pytest.mark.parametrize(("spec", "told"), [
    ({"nonsense": 1}, ".spec.nonsense: field not declared in schema"),
    ({"load": "ten"}, ".spec.load: "),
])  # fmt: skip
async def test_an_apply_must_fit_the_kind_under_any_validation(
    cranes: ApiClient, validation: str, spec: dict, told: str
) -> None:
    """A server-side apply of an unknown field or a wrong type is a 500 that names the field, as on a real server."""
    body = {"apiVersion": "example.org/v1", "kind": "Crane", "metadata": {"name": "one"}, "spec": spec}
    query = {"fieldManager": "somebody", "fieldValidation": validation}
    refused = await cranes.ask("PATCH", f"{CRANES}/one", body, content_type=APPLY, **query)
    assert refused.status == 500
    words = "failed to create typed patch object (default/one; example.org/v1, Kind=Crane): " + told
    assert refused.body["message"].startswith(words)


@pytest.mark.parametrize(("spec", "message"), [
    ({"load": 0}, "spec.load: Invalid value: 0: spec.load in body should be greater than or equal to 1"),
    (
        {"load": 101, "limit": 200},
        "spec.load: Invalid value: 101: spec.load in body should be less than or equal to 100",
    ),
    ({"load": "ten"}, 'spec.load: Invalid value: "string": spec.load in body must be of type integer: "string"'),
    ({"mode": "Wild"}, 'spec.mode: Unsupported value: "Wild": supported values: "Slow", "Fast"'),
    ({"load": None}, "spec.load: Required value"),
    ({"load": 60}, 'spec.load: Invalid value: "object": load must not exceed limit'),
    ({"routes": [{}]}, "spec.routes[0].name: Required value"),
    ({"routes": [{"name": "x"}, {"name": "x"}]}, 'spec.routes[1]: Duplicate value: {"name":"x"}'),
])  # fmt: skip
async def test_invalid_objects_are_refused_in_the_words_of_kubernetes(
    cranes: ApiClient, spec: dict, message: str
) -> None:
    """An object against the schema or a rule is a 422 that names field, value and reason."""
    refused = await cranes.ask("POST", CRANES, crane(**spec))
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    assert refused.body["message"] == f'Crane.example.org "one" is invalid: {message}'


async def test_transition_rules_hold_for_updates(cranes: ApiClient) -> None:
    """A rule with oldSelf accepts a create and refuses the update, in the words of the rule's expression."""
    await cranes.create(CRANES, crane(limit=40))
    refused = await cranes.ask(
        "PATCH", f"{CRANES}/one", {"spec": {"limit": 45}}, content_type="application/merge-patch+json"
    )
    assert refused.status == 422
    assert 'spec: Invalid value: "object": limit was 40 and stays so' in refused.body["message"]


async def test_strategic_patches_of_custom_objects_are_refused(cranes: ApiClient) -> None:
    """Custom objects take no strategic merge patch, as on a real API server."""
    await cranes.create(CRANES, crane())
    refused = await cranes.ask("PATCH", f"{CRANES}/one", {"spec": {"load": 2}}, content_type=STRATEGIC)
    assert (refused.status, refused.body["reason"]) == (415, "UnsupportedMediaType")


async def test_status_is_separate_from_the_spec(cranes: ApiClient) -> None:
    """The status is dropped on create, written only through the subresource, and pruned as well."""
    created = await cranes.create(CRANES, {**crane(), "status": {"lifted": 1}})
    assert "status" not in created
    patched = await cranes.patch(f"{CRANES}/one/status", {"status": {"lifted": 2, "odd": 1}, "spec": {"load": 3}})
    assert (patched["status"], patched["spec"]["load"]) == ({"lifted": 2}, 10)
    assert patched["metadata"]["generation"] == 1
    ignored = await cranes.patch(f"{CRANES}/one", {"status": {"lifted": 9}})
    assert ignored["status"] == {"lifted": 2}


async def test_scale_reads_and_writes_the_paths_of_the_definition(cranes: ApiClient) -> None:
    """The scale subresource shows replicas and selector, and writes the spec."""
    await cranes.create(CRANES, crane(replicas=1))
    await cranes.patch(f"{CRANES}/one/status", {"status": {"replicas": 1, "selector": "a=b"}})
    scale = await cranes.get(f"{CRANES}/one/scale")
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 1, "selector": "a=b"})
    await cranes.ask("PUT", f"{CRANES}/one/scale", {**scale, "spec": {"replicas": 4}})
    found = await cranes.get(f"{CRANES}/one")
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (4, 2)


async def test_tables_show_the_columns_of_the_definition(cranes: ApiClient) -> None:
    """A table has the name and the definition's columns, with types and priorities."""
    await cranes.create(CRANES, crane())
    async with cranes.session.get(cranes.url + CRANES, headers={**cranes.headers, **TABLE}) as response:
        table = await response.json()
    assert [(item["name"], item["priority"]) for item in table["columnDefinitions"]] == [
        ("Name", 0), ("Load", 0), ("Limit", 1), ("Age", 0),
    ]  # fmt: skip
    assert table["rows"][0]["cells"][:3] == ["one", 10, 50]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_rules_that_do_not_compile_are_refused(api: ApiClient) -> None:
    """A definition with a broken or unsupported rule is 422 and names the rule."""
    body = definition()
    rules = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
    rules.extend([{"rule": "self.load >"}, {"rule": "self.?load.hasValue()"}])
    refused = await api.ask("POST", DEFINITIONS, body)
    assert refused.status == 422
    fields = [cause["field"].rpartition("x-kubernetes-")[2] for cause in refused.body["details"]["causes"]]
    assert fields == ["validations[2].rule", "validations[3].rule"]


async def test_deleting_a_definition_deletes_its_objects(cranes: ApiClient) -> None:
    """The objects are deleted first, then the definition and the resource; the objects' dependents are deleted too."""
    owner = await cranes.create(CRANES, crane())
    owned = {"apiVersion": "example.org/v1", "kind": "Crane", "name": "one", "uid": owner["metadata"]["uid"]}
    await cranes.create(MAPS, {"metadata": {"name": "load", "ownerReferences": [owned]}})
    await cranes.delete(f"{DEFINITIONS}/cranes.example.org")
    await cranes.until(f"{MAPS}/load", lambda found: found.status == 404, "what it owned is gone")
    await cranes.until(CRANES, lambda found: found.status == 404, "the resource is gone")
    assert (await cranes.ask("GET", f"{DEFINITIONS}/cranes.example.org")).status == 404


async def test_a_dependent_of_an_absent_kind_is_collected_at_the_kinds_return(cranes: ApiClient) -> None:
    """A controller may create a dependent just after the deletion of its owner's definition."""
    owner = await cranes.create(CRANES, crane())
    owned = {"apiVersion": "example.org/v1", "kind": "Crane", "name": "one", "uid": owner["metadata"]["uid"]}
    await cranes.delete(f"{DEFINITIONS}/cranes.example.org")
    await cranes.until(CRANES, lambda found: found.status == 404, "the resource is gone")
    await cranes.create(MAPS, {"metadata": {"name": "late", "ownerReferences": [owned]}})
    await cranes.create(DEFINITIONS, definition())
    await cranes.create(CRANES, crane())
    await cranes.until(f"{MAPS}/late", lambda found: found.status == 404, "the dependent is gone")


@pytest.mark.parametrize("change", ["deleted", "changed"])
async def test_watches_end_with_the_definition(cranes: ApiClient, change: str) -> None:
    """A watcher receives the deletions of the objects, if any, and then the end of the stream."""
    await cranes.create(CRANES, crane())
    path = f"{DEFINITIONS}/cranes.example.org"

    async def once_it_runs(event: Any) -> None:
        if event["type"] == "DELETED":
            return
        if change == "deleted":
            await cranes.delete(path)
        else:
            await cranes.patch(path, {"spec": {"names": {"shortNames": ["crn"]}}})

    events = await cranes.events(CRANES, 10, seen=once_it_runs)
    assert [event["type"] for event in events] == {"deleted": ["ADDED", "DELETED"], "changed": ["ADDED"]}[change]


async def test_versions_show_the_same_object(api: ApiClient) -> None:
    """An object stored in one version can be read in a second served version."""
    body = definition()
    other = {**body["spec"]["versions"][0], "name": "v2", "storage": False}
    body["spec"]["versions"].append(other)
    await api.create(DEFINITIONS, body)
    await api.create(CRANES, crane())
    shown = await api.get(CRANES.replace("/v1/", "/v2/") + "/one")
    assert (shown["apiVersion"], shown["spec"]["load"]) == ("example.org/v2", 10)
