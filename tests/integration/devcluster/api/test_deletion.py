"""Deletion over HTTP: finalizers, grace periods, owners, namespaces, eviction."""

from __future__ import annotations

from typing import Any

from tests.fixtures.devcluster import MERGE, STRATEGIC, Answer, ApiClient

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def gone(found: Answer) -> bool:
    return found.status == 404


def pod(name: str = "p", node: str | None = None, **labels: str) -> dict:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "x"}]}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


async def owned(api: ApiClient, name: str, owner: Any, *, blocks: bool = False) -> Any:
    reference = {
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": blocks,
    }  # fmt: skip
    return await api.create(MAPS, {"metadata": {"name": name, "ownerReferences": [reference]}})


async def test_a_finalizer_holds_an_object(api: ApiClient) -> None:
    """A deletion marks an object with finalizers; the object disappears with the last finalizer."""
    await api.create(MAPS, {"metadata": {"name": "a", "finalizers": ["example.org/hold"]}})
    marked = await api.delete(f"{MAPS}/a")
    assert marked.body["metadata"]["deletionTimestamp"]
    assert (await api.ask("GET", f"{MAPS}/a")).status == 200
    await api.patch(f"{MAPS}/a", {"metadata": {"finalizers": None}})
    assert (await api.ask("GET", f"{MAPS}/a")).status == 404


async def test_preconditions(api: ApiClient) -> None:
    """A delete with a different uid is a conflict."""
    await api.create(MAPS, {"metadata": {"name": "a"}})
    refused = await api.delete(f"{MAPS}/a", {"preconditions": {"uid": "other"}})
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")


async def test_pods_on_a_node_get_their_grace_period(api: ApiClient) -> None:
    """A pod on a node disappears when the node confirms with grace 0; a pod without a node disappears at once."""
    await api.create(PODS, pod(node="n"))
    marked = await api.delete(f"{PODS}/p")
    assert marked.body["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 5})
    assert shorter.body["metadata"]["deletionGracePeriodSeconds"] == 5
    await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert (await api.ask("GET", f"{PODS}/p")).status == 404
    await api.create(PODS, pod())
    await api.delete(f"{PODS}/p")
    assert (await api.ask("GET", f"{PODS}/p")).status == 404


async def test_dependents_are_deleted_with_their_owner(api: ApiClient) -> None:
    """In the background dependents are deleted after their owner, and further dependents after them."""
    root = await api.create(MAPS, {"metadata": {"name": "root"}})
    child = await owned(api, "child", root)
    await owned(api, "grandchild", child)
    await api.delete(f"{MAPS}/root")
    await api.until(f"{MAPS}/grandchild", gone, "the grandchild is collected")
    assert (await api.ask("GET", f"{MAPS}/child")).status == 404


async def test_orphans_stay_without_their_owner(api: ApiClient) -> None:
    """With Orphan the dependents stay and lose their reference."""
    root = await api.create(MAPS, {"metadata": {"name": "root"}})
    await owned(api, "child", root)
    await api.delete(f"{MAPS}/root", {"propagationPolicy": "Orphan"})
    await api.until(f"{MAPS}/root", gone, "the owner is gone")
    assert "ownerReferences" not in (await api.get(f"{MAPS}/child"))["metadata"]


async def test_in_the_foreground_the_owner_is_deleted_last(api: ApiClient) -> None:
    """With Foreground the owner waits for a blocking dependent."""
    root = await api.create(MAPS, {"metadata": {"name": "root"}})
    await owned(api, "child", root, blocks=True)
    await api.patch(f"{MAPS}/child", {"metadata": {"finalizers": ["example.org/hold"]}})
    await api.delete(f"{MAPS}/root", {"propagationPolicy": "Foreground"})
    await api.until(f"{MAPS}/child", lambda found: "deletionTimestamp" in found.body["metadata"], "the child is marked")
    waiting = await api.get(f"{MAPS}/root")
    assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
    await api.patch(f"{MAPS}/child", {"metadata": {"finalizers": None}})
    await api.until(f"{MAPS}/root", gone, "the owner follows")


async def test_a_second_owner_keeps_a_dependent(api: ApiClient) -> None:
    """A dependent with two owners loses the reference to the deleted owner."""
    one, two = [await api.create(MAPS, {"metadata": {"name": name}}) for name in ("one", "two")]
    await owned(api, "child", one)
    both = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        for owner in (one, two)
    ]
    await api.patch(f"{MAPS}/child", {"metadata": {"ownerReferences": both}}, MERGE)
    await api.delete(f"{MAPS}/one")
    found = await api.until(
        f"{MAPS}/child", lambda answer: len(answer.body["metadata"]["ownerReferences"]) == 1, "one owner is left"
    )
    assert found.body["metadata"]["ownerReferences"][0]["name"] == "two"


async def test_the_cluster_keeps_its_own_namespaces(api: ApiClient) -> None:
    """As in Kubernetes, `default` and similar namespaces are not deleted, through any path."""
    for path in ("/api/v1/namespaces/default", "/api/v1/namespaces/kube-system"):
        refused = await api.delete(path)
        assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
        assert "may not be deleted" in refused.body["message"]
        await api.get(path)


async def test_deleting_a_namespace_deletes_its_objects(api: ApiClient) -> None:
    """A namespace is Terminating until empty, accepts no new objects meanwhile, and then disappears."""
    await api.create("/api/v1/namespaces", {"metadata": {"name": "ns"}})
    maps = "/api/v1/namespaces/ns/configmaps"
    await api.create(maps, {"metadata": {"name": "held", "finalizers": ["example.org/hold"]}})
    await api.create(maps, {"metadata": {"name": "free"}})
    marked = await api.delete("/api/v1/namespaces/ns")
    assert marked.body["status"]["phase"] == "Terminating"
    await api.until(f"{maps}/free", gone, "the free map is gone")
    refused = await api.ask("POST", maps, {"metadata": {"name": "late"}})
    assert (refused.status, "being terminated" in refused.body["message"]) == (403, True)
    await api.patch(f"{maps}/held", {"metadata": {"finalizers": None}})
    await api.until("/api/v1/namespaces/ns", gone, "the namespace is gone")


async def test_deleting_a_collection(api: ApiClient) -> None:
    """A deletecollection deletes the objects that match the selector."""
    for name, app in (("a", "x"), ("b", "y"), ("c", "x")):
        await api.create(MAPS, {"metadata": {"name": name, "labels": {"app": app}}})
    assert (await api.ask("DELETE", MAPS, labelSelector="app=x")).status == 200
    assert [item["metadata"]["name"] for item in (await api.get(MAPS))["items"]] == ["b"]


async def test_binding_assigns_a_pod_once(api: ApiClient) -> None:
    """A binding sets the node and the PodScheduled condition; a second binding is a conflict."""
    await api.create(PODS, pod())
    target = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    assert (await api.ask("POST", f"{PODS}/p/binding", target)).status == 201
    found = await api.get(f"{PODS}/p")
    assert found["spec"]["nodeName"] == "n1"
    assert [(item["type"], item["status"]) for item in found["status"]["conditions"]] == [("PodScheduled", "True")]
    assert (await api.ask("POST", f"{PODS}/p/binding", target)).status == 409


async def test_eviction_honours_disruption_budgets(api: ApiClient) -> None:
    """An eviction against a budget is a 429 with the reason; every other eviction deletes the pod."""
    await api.create(PODS, pod(app="a"))
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    await api.create(budgets, {
        "metadata": {"name": "keep"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}},
    })  # fmt: skip
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    refused = await api.ask("POST", f"{PODS}/p/eviction", body)
    assert (refused.status, refused.body["details"]["causes"][0]["reason"]) == (429, "DisruptionBudget")
    assert "Retry-After" not in refused.headers, "client libraries would repeat the request past kubectl's --timeout"
    await api.delete(f"{budgets}/keep")
    assert (await api.ask("POST", f"{PODS}/p/eviction", body)).status == 201
    assert (await api.ask("GET", f"{PODS}/p")).status == 404


async def test_a_pods_spec_is_fixed(api: ApiClient) -> None:
    """Only the image of a pod's spec may change."""
    await api.create(PODS, pod())
    change = {"spec": {"containers": [{"name": "c", "image": "y"}]}}
    assert (await api.patch(f"{PODS}/p", change, STRATEGIC))["spec"]["containers"][0]["image"] == "y"
    refused = await api.ask("PATCH", f"{PODS}/p", {"spec": {"hostname": "h"}}, content_type=MERGE)
    assert (refused.status, "pod updates may not change fields" in refused.body["message"]) == (422, True)
