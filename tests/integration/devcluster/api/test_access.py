"""Permissions: tokens, roles, reviews, impersonation, and the record of requests."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

from agentpool_devcluster.api.http.server import ApiServer, ServerSettings
from tests.fixtures.devcluster import ApiClient

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = "/api/v1/namespaces/default/pods"


async def as_bob(api: ApiClient) -> ApiClient:
    """A client of the service account bob."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await api.create(accounts, {"metadata": {"name": "bob"}})
    asked = await api.create(f"{accounts}/bob/token", {"spec": {}})
    return ApiClient(api.url, asked["status"]["token"], api.session)


async def let_bob(api: ApiClient, *verbs: str) -> None:
    await api.create(f"{RBAC}/namespaces/default/roles", {
        "metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}],
    })  # fmt: skip
    await api.create(f"{RBAC}/namespaces/default/rolebindings", {
        "metadata": {"name": "rb"}, "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "bob", "namespace": "default"}],
    })  # fmt: skip


async def test_without_a_token_only_health_is_served(api: ApiClient) -> None:
    """A request without a token is refused with the way to pass one, as of `kubectl get --raw`."""
    async with api.session.get(f"{api.url}/api/v1/pods") as response:
        refused = await response.json()
        assert (response.status, refused["reason"]) == (403, "Forbidden")
        assert "kubectl get --raw /token/TOKEN/api/v1/pods" in refused["message"]
    for path in ("/healthz", "/livez", "/readyz"):
        async with api.session.get(api.url + path) as response:
            assert response.status == 200


async def test_the_token_may_be_part_of_the_path(api_server: ApiServer) -> None:
    """Kubectl sends bearer tokens over TLS only, so the address in the kubeconfig has the token as well."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{api_server.admin_url}/api/v1/namespaces") as response:
            assert response.status == 200
        async with session.get(f"{api_server.url}/token/wrong/api/v1/namespaces") as response:
            assert response.status == 401


async def test_service_accounts_have_the_rights_of_their_roles(api: ApiClient) -> None:
    """A service account without a role is refused in the words of Kubernetes."""
    bob = await as_bob(api)
    refused = await bob.ask("GET", PODS)
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"] == (
        'pods is forbidden: User "system:serviceaccount:default:bob" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )
    await let_bob(api, "list")
    assert (await bob.ask("GET", PODS)).status == 200
    assert (await bob.ask("GET", "/api/v1/pods")).status == 403
    assert (await bob.ask("GET", f"{PODS}/x/log")).status == 403


async def test_an_apply_cannot_create_without_the_right(api: ApiClient) -> None:
    """A server-side apply of a missing object also needs the right to create.

    An apply of an existing object does not.
    """
    bob = await as_bob(api)
    containers = [{"name": "c", "image": "i"}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}
    await let_bob(api, "patch")
    refused = await bob.apply(f"{PODS}/p", pod, "bob")
    assert (refused.status, "cannot create resource" in refused.body["message"]) == (403, True)
    assert (await api.apply(f"{PODS}/p", pod, "admin")).status == 201
    assert (await bob.apply(f"{PODS}/p", pod, "admin")).status == 200


async def test_access_reviews(api: ApiClient) -> None:
    """A subject access review covers any user, a self review the caller."""
    bob = await as_bob(api)
    await let_bob(api, "get")
    asked = {"namespace": "default", "verb": "get", "resource": "pods"}
    path = "/apis/authorization.k8s.io/v1"
    mine = await bob.create(f"{path}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": asked}})
    assert mine["status"]["allowed"] is True
    body = {"spec": {"user": "system:serviceaccount:default:bob", "resourceAttributes": {**asked, "verb": "delete"}}}
    theirs = await api.create(f"{path}/subjectaccessreviews", body)
    assert theirs["status"]["allowed"] is False


async def test_token_reviews(api: ApiClient) -> None:
    """A token review returns the user of a token, or an unknown token."""
    bob = await as_bob(api)
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    token = bob.headers["Authorization"].removeprefix("Bearer ")
    known = await api.create(path, {"spec": {"token": token}})
    assert known["status"]["user"]["username"] == "system:serviceaccount:default:bob"
    unknown = await api.create(path, {"spec": {"token": "x"}})
    assert unknown["status"]["authenticated"] is False


async def test_a_token_is_good_for_its_audiences_only(api: ApiClient) -> None:
    """This server refuses a token for a different service; a review checks the requested audiences."""
    await as_bob(api)
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    asked = {"spec": {"audiences": ["agentpool", "billing"]}}
    token = (await api.create(f"{accounts}/bob/token", asked))["status"]["token"]
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    for audiences, matching in ((["agentpool", "x"], ["agentpool"]), (["x"], None), ([], None)):
        status = (await api.create(path, {"spec": {"token": token, "audiences": audiences}}))["status"]
        assert (status["authenticated"], status.get("audiences")) == (matching is not None, matching)
    async with api.session.get(api.url + PODS, headers={"Authorization": f"Bearer {token}"}) as response:
        assert response.status == 401


async def test_impersonation(api: ApiClient) -> None:
    """The administrator may act as a different user, with that user's rights only."""
    await let_bob(api, "list")
    headers = {**api.headers, "Impersonate-User": "system:serviceaccount:default:bob"}
    for path, status in ((PODS, 200), ("/api/v1/nodes", 403)):
        async with api.session.get(api.url + path, headers=headers) as response:
            assert response.status == status


async def test_every_request_is_recorded(tmp_path: Path) -> None:
    """The recorder stores the user and the request."""
    record = tmp_path / "requests.jsonl"
    async with ApiServer(ServerSettings(record=record)) as server, aiohttp.ClientSession() as session:
        await ApiClient(server.url, server.tokens.admin_token, session).get(PODS)
    (line,) = [json.loads(text) for text in record.read_text().splitlines()]
    assert line == {
        "userAgent": "tests/1", "user": "devcluster-admin", "verb": "list", "group": "", "resource": "pods",
        "subresource": "", "namespace": "default", "name": "",
    }  # fmt: skip
