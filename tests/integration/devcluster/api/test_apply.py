"""Server-side apply over HTTP: ownership, conflicts, handover."""

from __future__ import annotations

from typing import Any

from tests.fixtures.devcluster import APPLY, ApiClient
from tests.integration.devcluster.api.test_objects import DEPLOYMENTS, deployment

PATH = f"{DEPLOYMENTS}/web"


def owners(body: Any, field: str) -> set[tuple[str, str, str]]:
    """Return (manager, operation, subresource) of every owner of spec.FIELD."""
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", ""))
        for entry in body["metadata"]["managedFields"]
        if f"f:{field}" in entry["fieldsV1"].get("f:spec", {})
    }


async def test_apply_creates_and_owns(api: ApiClient) -> None:
    """An apply creates the object, and owns the given fields and no defaulted field."""
    created = await api.apply(PATH, deployment(replicas=0), "agentpool")
    assert created.status == 201
    assert owners(created.body, "replicas") == {("agentpool", "Apply", "")}
    assert owners(created.body, "strategy") == set()


async def test_applying_twice_changes_nothing(api: ApiClient) -> None:
    """The same apply again keeps the resourceVersion."""
    first = await api.apply(PATH, deployment(replicas=2), "agentpool")
    second = await api.apply(PATH, deployment(replicas=2), "agentpool")
    assert first.body["metadata"]["resourceVersion"] == second.body["metadata"]["resourceVersion"]


async def test_a_conflict_names_the_manager_and_the_field(api: ApiClient) -> None:
    """A change of a foreign manager's field is a 409 that names manager and field, unless the change is forced."""
    await api.apply(PATH, deployment(replicas=2), "one")
    refused = await api.apply(PATH, deployment(replicas=3), "two")
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    assert refused.body["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    assert refused.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.replicas"}
    ]
    forced = await api.apply(PATH, deployment(replicas=3), "two", force=True)
    assert owners(forced.body, "replicas") == {("two", "Apply", "")}


async def test_equal_values_are_shared(api: ApiClient) -> None:
    """Managers that apply the same value own the field together; the field disappears with the last owner."""
    await api.apply(PATH, deployment(minReadySeconds=5), "one")
    both = await api.apply(PATH, deployment(minReadySeconds=5), "two")
    assert {name for name, _, _ in owners(both.body, "minReadySeconds")} == {"one", "two"}
    left = await api.apply(PATH, deployment(), "one")
    assert left.body["spec"]["minReadySeconds"] == 5
    gone = await api.apply(PATH, deployment(), "two")
    assert "minReadySeconds" not in gone.body["spec"]


async def test_a_field_no_longer_applied_falls_back_to_its_default(api: ApiClient) -> None:
    """Replicas that their only owner stops applying return to the default."""
    await api.apply(PATH, deployment(replicas=4), "one")
    after = await api.apply(PATH, deployment(), "one")
    assert after.body["spec"]["replicas"] == 1


async def test_replicas_are_handed_over_through_scale(api: ApiClient) -> None:
    """After a scale by a second manager, the first may stop applying replicas without a reset."""
    await api.apply(PATH, deployment(replicas=0), "agentpool")
    scaled = await api.patch(f"{PATH}/scale", {"spec": {"replicas": 3}}, fieldManager="agentpool-scaling")
    assert scaled["spec"]["replicas"] == 3
    shown = await api.get(PATH)
    assert owners(shown, "replicas") == {("agentpool-scaling", "Update", "scale")}
    after = await api.apply(PATH, deployment(image="nginx:2"), "agentpool", force=True)
    assert after.body["spec"]["replicas"] == 3
    refused = await api.apply(PATH, deployment(replicas=1), "agentpool")
    assert 'conflict with "agentpool-scaling" with subresource "scale" using apps/v1' in refused.body["message"]


async def test_ownership_taken_with_an_equal_value(api: ApiClient) -> None:
    """An apply of the current replicas through scale shares the field, so the first owner may stop applying."""
    await api.apply(PATH, deployment(replicas=0), "agentpool")
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 0}}
    await api.patch(f"{PATH}/scale", body, APPLY, fieldManager="agentpool-scaling")
    after = await api.apply(PATH, deployment(), "agentpool")
    assert after.body["spec"]["replicas"] == 0
    assert owners(after.body, "replicas") == {("agentpool-scaling", "Apply", "scale")}


async def test_list_elements_are_owned_separately(api: ApiClient) -> None:
    """Two managers keep separate environment variables in one container."""

    def with_env(*names: str) -> dict:
        body = deployment()
        body["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": name, "value": "1"} for name in names]
        return body

    await api.apply(PATH, with_env("A", "B"), "one")
    await api.apply(PATH, with_env("C"), "two")
    after = await api.apply(PATH, with_env("A"), "one")
    (container,) = after.body["spec"]["template"]["spec"]["containers"]
    assert sorted(item["name"] for item in container["env"]) == ["A", "C"]


async def test_updates_take_ownership(api: ApiClient) -> None:
    """A merge patch takes ownership of the changed fields, from appliers as well."""
    await api.apply(PATH, deployment(replicas=2), "one")
    patched = await api.patch(PATH, {"spec": {"replicas": 5}}, fieldManager="someone")
    assert owners(patched, "replicas") == {("someone", "Update", "")}


async def test_status_and_spec_are_applied_apart(api: ApiClient) -> None:
    """An apply to the status writes no spec, and the owner entry has the subresource."""
    await api.apply(PATH, deployment(replicas=2), "one")
    status = {**deployment(replicas=9), "status": {"replicas": 2, "observedGeneration": 1}}
    done = await api.apply(f"{PATH}/status", status, "controller")
    assert (done.body["spec"]["replicas"], done.body["status"]["replicas"]) == (2, 2)
    (entry,) = [item for item in done.body["metadata"]["managedFields"] if item["manager"] == "controller"]
    assert (entry["subresource"], list(entry["fieldsV1"])) == ("status", ["f:status"])


async def test_apply_needs_a_manager(api: ApiClient) -> None:
    """An apply without a field manager is refused."""
    refused = await api.ask("PATCH", PATH, deployment(), content_type=APPLY)
    assert (refused.status, "fieldManager" in refused.body["message"]) == (400, True)
