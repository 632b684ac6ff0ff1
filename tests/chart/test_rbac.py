"""The rights of operator and gateway: exactly the rights in use, in the namespaces of their use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.chart.rendering import MATRIX, NAMESPACE, manifests

Grant = tuple[str, str, str]  # API group, resource, verb

# A row for each kind of call, with the module of the operator that makes the call.
OPERATOR = {
    ("agentpool.dev", "agentpools"): "get list watch",  # handlers, resync, status
    ("agentpool.dev", "agentpools/status"): "patch",  # status
    ("apps", "deployments"): "get list watch create patch",  # handlers, apply
    ("apps", "deployments/scale"): "get patch",  # scale
    ("policy", "poddisruptionbudgets"): "get create patch",  # apply
    ("", "pods"): "list watch create patch",  # handlers; admission's dry runs; scale writes deletion costs
    ("", "secrets"): "get",  # secrets: Redis URLs, a single Secret at a time
    ("", "events"): "get list create patch",  # events; `delays` lists those of a pod that does not become ready
}
CAPACITY = {
    ("", "nodes"): "list watch",
    ("", "pods"): "list watch",
    ("resource.k8s.io", "resourceslices"): "list watch",
    ("resource.k8s.io", "deviceclasses"): "list watch",
    ("resource.k8s.io", "resourceclaims"): "list watch",
    ("resource.k8s.io", "resourceclaimtemplates"): "list watch",
}  # capacity_watch
IDENTITY = {("", "namespaces"): "get"}  # purge: the uid of kube-system identifies the cluster
ELECTION = {("coordination.k8s.io", "leases"): "create get update delete"}  # election
GATEWAY = {
    ("agentpool.dev", "agentpools"): "get list patch",
    ("", "secrets"): "get",
}
REVIEWS = {
    ("authentication.k8s.io", "tokenreviews"): "create",
    ("authorization.k8s.io", "subjectaccessreviews"): "create",
}


def table(*parts: dict[tuple[str, str], str]) -> set[Grant]:
    """Return the tables as single grants."""
    return {(*place, verb) for part in parts for place, verbs in part.items() for verb in verbs.split()}


def granted(roles: Iterable[dict[str, Any]]) -> set[Grant]:
    """Return the grants of some roles. A wildcard would appear unchanged, and fail the comparison."""
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def roles_of(found: list[dict[str, Any]], account: str, namespace: str | None) -> list[dict[str, Any]]:
    """Return the roles bound to a ServiceAccount in a namespace; None: cluster-wide."""
    kind = "Role" if namespace else "ClusterRole"
    bound = {
        m["roleRef"]["name"]
        for m in found
        if m["kind"] == f"{kind}Binding"
        and m["metadata"].get("namespace") == namespace
        and m["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
    }
    return [
        m
        for m in found
        if m["kind"] == kind and m["metadata"]["name"] in bound and m["metadata"].get("namespace") == namespace
    ]


def test_an_operator_for_all_namespaces_has_one_cluster_role():
    """The cluster-wide rights are those of serving pools, plus the Lease in the operator's namespace; nothing else."""
    found = manifests()
    assert granted(roles_of(found, "agentpool-operator", None)) == table(OPERATOR, CAPACITY, IDENTITY)
    assert granted(roles_of(found, "agentpool-operator", NAMESPACE)) == table(ELECTION)


def test_an_operator_for_some_namespaces_has_roles_only_there():
    """With watchNamespaces the operator may read nodes and pods everywhere, and act in the named namespaces only."""
    found = manifests(MATRIX["two-namespaces"])
    assert granted(roles_of(found, "agentpool-operator", None)) == table(CAPACITY, IDENTITY)
    assert granted(roles_of(found, "agentpool-operator", "research")) == table(OPERATOR)
    assert granted(roles_of(found, "agentpool-operator", NAMESPACE)) == table(OPERATOR, ELECTION)


def test_without_capacity_only_the_clusters_identity_is_cluster_wide():
    """The operator then sees only the cluster's identity, and reads only the named Secrets."""
    found = manifests(MATRIX["elsewhere-only"])
    assert granted(roles_of(found, "agentpool-operator", None)) == table(IDENTITY)
    (role,) = roles_of(found, "agentpool-operator", "research")
    (secrets,) = [rule for rule in role["rules"] if rule["resources"] == ["secrets"]]
    assert secrets["resourceNames"] == ["agentpool-redis"]


def test_an_installation_for_a_shared_cluster_reads_nothing_elsewhere():
    """With the values of docs/install.md, only the cluster's identity and the reviews are cluster-wide."""
    shared = {
        "watchNamespaces": ["agents", "research"],
        "rbac": {"secretNames": ["agentpool-redis"], "capacity": False},
        "redis": {"existingSecret": "agentpool-redis"},
        "gateway": {"enabled": True},
    }
    found = manifests(shared)
    assert granted(roles_of(found, "agentpool-operator", None)) == table(IDENTITY)
    assert granted(roles_of(found, "agentpool-gateway", None)) == table(REVIEWS)
    users = granted(m for m in found if m["kind"] == "ClusterRole" and "users" in str(m["metadata"]["labels"]))
    assert {group for group, _, _ in users} == {"agentpool.dev"}
    secrets = [
        (role["metadata"]["namespace"], rule.get("resourceNames"))
        for role in found
        if role["kind"] == "Role"
        for rule in role["rules"]
        if "secrets" in rule["resources"]
    ]
    assert sorted(secrets) == sorted([(place, ["agentpool-redis"]) for place in ("agents", "research")] * 2)


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_only_operator_and_gateway_have_rights(values: dict[str, Any]):
    """No binding names a further account: a worker has no rights in Kubernetes."""
    bound = {s["name"] for m in manifests(values) if m["kind"].endswith("Binding") for s in m["subjects"]}
    assert bound <= {"agentpool-operator", "agentpool-gateway"}


def test_the_operator_may_use_only_its_lease():
    """Besides creating a Lease, the operator may use only the Lease that the flags name."""
    found = manifests()
    (role,) = roles_of(found, "agentpool-operator", NAMESPACE)
    named = [rule for rule in role["rules"] if "create" not in rule["verbs"]]
    assert [rule["resourceNames"] for rule in named] == [["agentpool-operator"]]
    (operator,) = [m for m in found if m["kind"] == "Deployment"]
    arguments = operator["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--lease-name=agentpool-operator" in arguments
    assert f"--lease-namespace={NAMESPACE}" in arguments


@pytest.mark.parametrize("way", ["gateway", "gateway-in-namespaces"])
def test_the_gateway_reads_and_does_not_write(way: str):
    """The gateway may review callers, read pools and the Secrets of their Redis, and change nothing."""
    found = manifests(MATRIX[way])
    clusterwide = granted(roles_of(found, "agentpool-gateway", None))
    within = granted(roles_of(found, "agentpool-gateway", NAMESPACE))
    assert clusterwide | within == table(GATEWAY, REVIEWS)
    assert within == (table(GATEWAY) if way == "gateway-in-namespaces" else set())
    (gateway,) = [m for m in found if m["kind"] == "Deployment" and m["metadata"]["name"].endswith("-gateway")]
    arguments = gateway["spec"]["template"]["spec"]["containers"][0]["args"]
    # The gateway lists in the namespaces with rights, and nowhere else.
    asked = [each for each in arguments if each.startswith("--namespace=")]
    assert asked == ([f"--namespace={NAMESPACE}"] if way == "gateway-in-namespaces" else [])


def test_the_gateway_reads_logs_on_request_only():
    """Reading the log of a worker takes more rights to read, in the served namespaces."""
    found = manifests({"gateway": {"enabled": True, "workerLogs": True}, "watchNamespaces": [NAMESPACE]})
    within = granted(roles_of(found, "agentpool-gateway", NAMESPACE))
    assert within - table(GATEWAY) == table(
        {("", "pods"): "get", ("", "pods/log"): "get", ("apps", "deployments"): "get", ("apps", "replicasets"): "get"}
    )


def test_users_roles_are_aggregated():
    """Viewers of a namespace may view the pools, editors may edit the pools, and no user role writes a status."""
    roles = {m["metadata"]["name"]: m for m in manifests() if m["kind"] == "ClusterRole"}
    view, edit = roles["agents-agentpool-view"], roles["agents-agentpool-edit"]
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert {verb for _, _, verb in granted([view])} == {"get", "list", "watch"}
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert not [grant for grant in granted([edit]) if grant[1] == "agentpools/status"]
    asked_by_the_gateway = {("agentpool.dev", "agentpools/jobs", verb) for verb in ("create", "delete")}
    assert granted([edit]) > asked_by_the_gateway
    assert not [m for m in manifests({"rbac": {"aggregate": False}}) if "-view" in m["metadata"]["name"]]


def test_no_roles_with_rbac_disabled():
    """With rbac.create off the release has no roles and no bindings."""
    assert not [m for m in manifests(MATRIX["bare"]) if "Role" in m["kind"]]
