"""Objects over HTTP: create, read, update, patch, list."""

from __future__ import annotations

import pytest

from tests.fixtures.devcluster import JSON_PATCH, STRATEGIC, ApiClient

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


POD = {"containers": [{"name": "main", "image": "nginx:1.25"}]}


def config_map(name: str = "one", **data: str) -> dict:
    return {"metadata": {"name": name}, "data": data}


def deployment(name: str = "web", image: str = "nginx:1.25", **spec: object) -> dict:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            **spec,
        },
    }


async def test_create_and_read(api: ApiClient) -> None:
    """A created object has a uid, a resourceVersion and a creation time, and reads back the same."""
    created = await api.create(MAPS, config_map(a="1"))
    assert created["kind"] == "ConfigMap"
    assert {"uid", "resourceVersion", "creationTimestamp"} <= created["metadata"].keys()
    assert await api.get(f"{MAPS}/one") == created


async def test_missing_and_taken_names(api: ApiClient) -> None:
    """A missing object is 404, a taken name 409, a missing namespace 404, each with its reason."""
    missing = await api.ask("GET", f"{MAPS}/none")
    assert (missing.status, missing.body["reason"]) == (404, "NotFound")
    assert missing.body["message"] == 'configmaps "none" not found'
    await api.create(MAPS, config_map())
    taken = await api.ask("POST", MAPS, config_map())
    assert (taken.status, taken.body["reason"]) == (409, "AlreadyExists")
    nowhere = await api.ask("POST", "/api/v1/namespaces/nowhere/configmaps", config_map())
    assert (nowhere.status, nowhere.body["message"]) == (404, 'namespaces "nowhere" not found')


async def test_unknown_resources_are_refused(api: ApiClient) -> None:
    """A path of a resource that is not served is 404, and an unsupported verb 405."""
    assert (await api.ask("GET", "/apis/example.org/v1/things")).status == 404
    assert (await api.ask("DELETE", "/api/v1/namespaces")).status == 405
    assert (await api.ask("GET", "/api/v1/namespaces/default/pods/x/odd")).status == 404


async def test_unsupported_subresources_are_refused_by_name(api: ApiClient) -> None:
    """A subresource that only a real cluster has is a 501 that says so."""
    refused = await api.ask("POST", "/api/v1/namespaces/default/pods/x/exec")
    assert (refused.status, refused.body["reason"]) == (501, "NotImplemented")
    assert "the exec subresource of pods" in refused.body["message"]


async def test_generated_names(api: ApiClient) -> None:
    """A name made from generateName starts with that prefix and is unique."""
    names = {(await api.create(MAPS, {"metadata": {"generateName": "job-"}}))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("job-") for name in names)


async def test_stale_updates_are_refused(api: ApiClient) -> None:
    """An update with an old resourceVersion is a 409 Conflict; an update without a resourceVersion wins."""
    first = await api.create(MAPS, config_map(a="1"))
    await api.patch(f"{MAPS}/one", {"data": {"a": "2"}})
    stale = await api.ask("PUT", f"{MAPS}/one", {**first, "data": {"a": "3"}})
    assert (stale.status, stale.body["reason"]) == (409, "Conflict")
    assert "the object has been modified" in stale.body["message"]
    assert (await api.ask("PUT", f"{MAPS}/one", config_map(a="4"))).status == 200


async def test_writes_that_change_nothing_are_silent(api: ApiClient) -> None:
    """A patch that changes nothing keeps the resourceVersion."""
    created = await api.create(MAPS, config_map(a="1"))
    patched = await api.patch(f"{MAPS}/one", {"data": {"a": "1"}})
    assert patched["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_dry_run_stores_nothing(api: ApiClient) -> None:
    """A dry run returns the answer of the real request."""
    await api.create(MAPS, config_map(a="1"), dryRun="All")
    assert (await api.ask("GET", f"{MAPS}/one")).status == 404


async def test_generation_counts_changes_of_the_spec(api: ApiClient) -> None:
    """The generation grows with the spec, not with labels or status."""
    await api.create(DEPLOYMENTS, deployment())
    path = f"{DEPLOYMENTS}/web"
    labelled = await api.patch(path, {"metadata": {"labels": {"a": "b"}}})
    assert labelled["metadata"]["generation"] == 1
    status = await api.patch(f"{path}/status", {"status": {"replicas": 1}, "spec": {"replicas": 9}})
    assert (status["metadata"]["generation"], status["spec"]["replicas"]) == (1, 1)
    spec = await api.patch(path, {"spec": {"replicas": 3}, "status": {"replicas": 7}})
    assert (spec["metadata"]["generation"], spec["status"]["replicas"]) == (2, 1)


async def test_defaults_of_deployments(api: ApiClient) -> None:
    """A deployment gets the defaults that the controllers need, and quantities in canonical form."""
    body = deployment()
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": 0.5, "memory": "1024Mi"}}
    spec = (await api.create(DEPLOYMENTS, body))["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"]) == ("Always", 30)
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}


async def test_strategic_merge_patch_merges_lists_by_key(api: ApiClient) -> None:
    """A strategic merge patch finds list elements by key and keeps the remaining elements."""
    body = deployment()
    body["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    await api.create(DEPLOYMENTS, body)
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": "B", "value": "2"}]}]}}}}
    patched = await api.patch(f"{DEPLOYMENTS}/web", patch, STRATEGIC)
    (container,) = patched["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "nginx:1.25"
    assert {item["name"] for item in container["env"]} == {"A", "B"}


async def test_json_patch(api: ApiClient) -> None:
    """A JSON patch is applied in order, all or nothing."""
    await api.create(MAPS, config_map(a="1"))
    patch = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}]
    assert (await api.patch(f"{MAPS}/one", patch, JSON_PATCH))["data"] == {"a": "1", "b": "2"}
    bad = [{"op": "remove", "path": "/data/a"}, {"op": "test", "path": "/data/b", "value": "x"}]
    assert (await api.ask("PATCH", f"{MAPS}/one", bad, content_type=JSON_PATCH)).status == 422
    assert (await api.get(f"{MAPS}/one"))["data"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(("change", "field"), [
    ({"selector": {"matchLabels": {"app": "other"}}}, "spec.template.metadata.labels"),
    ({"replicas": -1}, "spec.replicas"),
    ({"template": {"metadata": {"labels": {"app": "web", "a b": ""}}, "spec": POD}}, "spec.template.labels"),
    (
        {"template": {"metadata": {"labels": {"app": "web"}}, "spec": POD | {"restartPolicy": "Never"}}},
        "spec.template.spec.restartPolicy",
    ),
])  # fmt: skip
async def test_invalid_deployments_are_refused(api: ApiClient, change: dict, field: str) -> None:
    """A deployment that breaks a rule is 422 and names the field."""
    refused = await api.ask("POST", DEPLOYMENTS, deployment(**change))
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    assert field in [cause["field"] for cause in refused.body["details"]["causes"]]


async def test_strict_field_validation_names_the_field(api: ApiClient) -> None:
    """Unknown and duplicate fields are refused under Strict, warned of under Warn, ignored under Ignore."""
    body = deployment(replicaz=3)
    strict = await api.ask("POST", DEPLOYMENTS, body, fieldValidation="Strict")
    assert strict.status == 400
    assert 'unknown field "spec.replicaz"' in strict.body["message"]
    warned = await api.ask("POST", DEPLOYMENTS, body, fieldValidation="Warn")
    assert (warned.status, warned.headers["Warning"]) == (201, '299 - "unknown field \\"spec.replicaz\\""')
    odd = await api.ask("POST", MAPS, {"metadata": {"name": "odd"}, "a\r\nb": 1}, fieldValidation="Warn")
    assert (odd.status, odd.headers["Warning"]) == (201, '299 - "unknown field \\"a\\r\\nb\\""')
    twice = await api.ask("POST", MAPS, b'{"metadata":{"name":"x"},"data":{"a":"1","a":"2"}}', fieldValidation="Strict")
    assert (twice.status, 'duplicate field "data.a"' in twice.body["message"]) == (400, True)


async def test_wrong_types_are_refused(api: ApiClient) -> None:
    """A built-in object with a value of the wrong type is a 400 that names the place."""
    refused = await api.ask("POST", DEPLOYMENTS, deployment(replicas="three"))
    assert (refused.status, "spec.replicas" in refused.body["message"]) == (400, True)


@pytest.mark.parametrize(("spec", "why"), [
    ({"priorityClassName": "nope"}, "no PriorityClass with name nope was found"),
    (
        {"serviceAccountName": "nope"},
        'error looking up service account default/nope: serviceaccount "nope" not found',
    ),
])  # fmt: skip
async def test_pods_with_missing_references_are_forbidden(api: ApiClient, spec: dict, why: str) -> None:
    """Admission needs the pod's service account and priority class; the class gives the pod a priority."""
    refused = await api.ask("POST", PODS, {"metadata": {"name": "p"}, "spec": POD | spec})
    assert (refused.status, refused.body["message"]) == (403, f'pods "p" is forbidden: {why}')
    await api.create("/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "nope"}, "value": 7})
    await api.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "nope"}})
    made = await api.create(PODS, {"metadata": {"name": "p"}, "spec": POD | spec})
    assert made["spec"]["priority"] == (7 if "priorityClassName" in spec else 0)


TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.mark.parametrize(("pod", "account", "mounted"), [
    ({}, {}, True),
    ({"automountServiceAccountToken": False}, {}, False),
    ({}, {"automountServiceAccountToken": False}, False),
    ({"automountServiceAccountToken": True}, {"automountServiceAccountToken": False}, True),
])  # fmt: skip
async def test_admission_mounts_the_accounts_token_unless_pod_or_account_opts_out(
    api: ApiClient, pod: dict, account: dict, *, mounted: bool
) -> None:
    """Every container gets the token, as on a Kubernetes server.

    A container with a mount at that path keeps the mount.
    """
    await api.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "mine"}, **account})
    own = {"name": "own", "mountPath": TOKEN_PATH}
    spec = POD | {
        "serviceAccountName": "mine",
        "initContainers": [{"name": "first", "image": "any"}],
        "containers": [*POD["containers"], {"name": "own", "image": "any", "volumeMounts": [own]}],
        "volumes": [{"name": "own", "emptyDir": {}}],
    }
    made = (await api.create(PODS, {"metadata": {"name": "p"}, "spec": spec | pod}))["spec"]
    tokens = [volume for volume in made["volumes"] if volume["name"].startswith("kube-api-access-")]
    assert bool(tokens) is mounted
    paths = [
        [(mount["name"], mount["mountPath"]) for mount in container.get("volumeMounts", ())]
        for container in (*made["initContainers"], *made["containers"])
    ]
    token = [(volume["name"], TOKEN_PATH) for volume in tokens]
    assert paths == [token, token, [("own", TOKEN_PATH)]]


async def test_items_of_a_built_in_list_do_not_repeat_the_kind(api: ApiClient) -> None:
    """As on a real server, the list has the kind, and the items do not."""
    await api.create(MAPS, config_map(a="1"))
    listed = await api.get(MAPS)
    assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
    assert [item.keys() for item in listed["items"]] == [{"metadata", "data"}]


async def test_lists_select_by_label_and_field(api: ApiClient) -> None:
    """Label and field selectors narrow a list; unknown fields are refused by name."""
    for name, app in (("a", "x"), ("b", "y"), ("c", "x")):
        await api.create(MAPS, {"metadata": {"name": name, "labels": {"app": app}}})

    async def names(**query: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await api.get(MAPS, **query))["items"]]

    assert await names(labelSelector="app=x") == ["a", "c"]
    assert await names(labelSelector="app in (y,z),app") == ["b"]
    assert await names(labelSelector="app!=x") == ["b"]
    assert await names(fieldSelector="metadata.name=b") == ["b"]
    refused = await api.ask("GET", MAPS, fieldSelector="data.a=1")
    assert (refused.status, "data.a" in refused.body["message"]) == (400, True)


async def test_chunked_lists_are_one_consistent_state(api: ApiClient) -> None:
    """The chunks of a list show the state of the first, despite later writes."""
    for index in range(5):
        await api.create(MAPS, config_map(f"m{index}"))
    first = await api.get(MAPS, limit="2")
    assert first["metadata"]["remainingItemCount"] == 3
    await api.delete(f"{MAPS}/m3")
    await api.create(MAPS, config_map("m9"))
    rest = await api.get(MAPS, **{"limit": "10", "continue": first["metadata"]["continue"]})
    names = [item["metadata"]["name"] for item in first["items"] + rest["items"]]
    assert names == ["m0", "m1", "m2", "m3", "m4"]


async def test_old_continue_tokens_expire(api: ApiClient) -> None:
    """A continue token whose state is forgotten is 410 Expired."""
    for index in range(3):
        await api.create(MAPS, config_map(f"m{index}"))
    first = await api.get(MAPS, limit="1")
    for index in range(250):
        await api.patch(f"{MAPS}/m0", {"data": {"n": str(index)}})
    late = await api.ask("GET", MAPS, **{"limit": "1", "continue": first["metadata"]["continue"]})
    assert (late.status, late.body["reason"]) == (410, "Expired")


async def test_secrets_take_plain_text(api: ApiClient) -> None:
    """A secret's stringData is stored encoded in data."""
    path = "/api/v1/namespaces/default/secrets"
    created = await api.create(path, {"metadata": {"name": "s"}, "stringData": {"k": "v"}})
    assert (created["data"], created["type"]) == ({"k": "dg=="}, "Opaque")


async def test_events_have_two_forms_and_one_storage(api: ApiClient) -> None:
    """An event written as core/v1 reads as events.k8s.io/v1, and the reverse."""
    core, new = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"
    await api.create(core, {
        "metadata": {"name": "e1"}, "message": "hello", "reason": "Said",
        "involvedObject": {"kind": "Pod", "name": "p"},
    })  # fmt: skip
    shown = await api.get(f"{new}/e1")
    assert (shown["apiVersion"], shown["note"], shown["regarding"]["name"]) == ("events.k8s.io/v1", "hello", "p")
    await api.create(new, {
        "metadata": {"name": "e2"}, "note": "again", "reason": "Said", "action": "Say", "type": "Normal",
        "reportingController": "test", "reportingInstance": "test", "eventTime": "2026-01-01T00:00:00.000000Z",
        "regarding": {"kind": "Pod", "name": "p"},
    })  # fmt: skip
    found = await api.get(core, fieldSelector="involvedObject.name=p")
    assert {item["message"] for item in found["items"]} == {"hello", "again"}


@pytest.mark.parametrize(
    ("path", "kind", "spec", "warning"),
    [
        ("/api/v1/namespaces/default/services", "Service", {"ports": [{"port": 80}]}, "no endpoints"),
        ("/api/v1/namespaces/default/resourcequotas", "ResourceQuota", {}, "does not enforce"),
        ("/api/v1/namespaces/default/limitranges", "LimitRange", {"limits": []}, "does not enforce"),
        ("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", "NetworkPolicy", {}, "does not enforce"),
        ("/api/v1/namespaces/default/replicationcontrollers", "ReplicationController", {}, "no controller"),
        ("/api/v1/namespaces/default/configmaps", "ConfigMap", None, ""),
    ],
)
async def test_a_kind_without_effect_is_stored_with_a_warning(api: ApiClient, path, kind, spec, warning) -> None:
    """A user learns at the creation that nothing will come of the object."""
    made = await api.ask("POST", path, {"metadata": {"name": "it"}, **({} if spec is None else {"spec": spec})})
    assert made.status == 201, made.body
    assert warning in made.headers.get("Warning", "")
    assert bool(made.headers.get("Warning")) == bool(warning)


async def test_a_stateful_set_has_a_controller_and_no_warning(api: ApiClient) -> None:
    """The controllers of the devcluster run its pods."""
    template = {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": template}
    made = await api.ask(
        "POST", "/apis/apps/v1/namespaces/default/statefulsets", {"metadata": {"name": "s"}, "spec": spec}
    )
    assert (made.status, made.headers.get("Warning")) == (201, None), made.body


async def test_a_version_that_is_not_served_is_refused_with_the_served_one(api: ApiClient) -> None:
    """`kubectl autoscale` asks for autoscaling/v1."""
    path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
    refused = await api.ask("POST", path, {"metadata": {"name": "h"}})
    assert refused.status == 404
    named = "the devcluster does not serve horizontalpodautoscalers as autoscaling/v1, only as autoscaling/v2"
    assert refused.body["message"] == named
