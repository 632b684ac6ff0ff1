"""Connections under the chart's NetworkPolicies, computed from the rendered policies, as a network plugin would.

No plugin runs here. `reaches` follows the API's words: a pod that no policy selects is open; else each side's policies
must allow the connection, and a rule without peers or ports means all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.spec import AgentPoolSpec
from agentpool_operator.children.manifests import deployment
from tests.chart.rendering import NAMESPACE, manifests, pod_of, selects

MONITORING = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
CALLERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "callers"}}}]
DEFAULT: dict[str, Any] = {"gateway": {"enabled": True}}
WALLED = {
    "gateway": {"enabled": True, "allowFrom": CALLERS},
    "networkPolicy": {"metricsFrom": MONITORING, "workers": {"enabled": True, "namespaces": ["agents", "research"]}},
}
OWN_REDIS = DEFAULT | {"redis": {"existingSecret": "mine"}, "networkPolicy": {"redisPorts": [6380]}}
OPEN = DEFAULT | {"networkPolicy": {"enabled": False}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Party:
    """A pod, or an address outside the cluster, which has no namespace."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)  # by name


def reaches(found: list[dict[str, Any]], source: Party, target: Party, port: int, protocol: str = "TCP") -> bool:
    """Return whether the connection is allowed."""
    return _allows(found, source, "Egress", target, target, (port, protocol)) and _allows(
        found, target, "Ingress", source, target, (port, protocol)
    )


def _allows(found: list[dict[str, Any]], of: Party, way: str, other: Party, target: Party, at: tuple[int, str]) -> bool:
    policies = [
        m["spec"]
        for m in found
        if m["kind"] == "NetworkPolicy"
        and m["metadata"]["namespace"] == of.namespace
        and selects(m["spec"]["podSelector"], of.labels)
        and way in m["spec"]["policyTypes"]
    ]
    rules = [rule for spec in policies for rule in spec.get(way.lower(), [])]
    peers = "from" if way == "Ingress" else "to"
    return not policies or any(
        (not rule.get("ports") or any(_is(port, target, at) for port in rule["ports"]))
        and (not rule.get(peers) or any(_matches(peer, other, of.namespace) for peer in rule[peers]))
        for rule in rules
    )


def _is(port: dict[str, Any], target: Party, at: tuple[int, str]) -> bool:
    return (target.ports.get(port["port"], port["port"]), port["protocol"]) == at


def _matches(peer: dict[str, Any], other: Party, own_namespace: str) -> bool:
    assert peer.keys() <= {"podSelector", "namespaceSelector"}
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != own_namespace:
        return False
    return selects(peer.get("podSelector", {}), other.labels)


def parties(found: list[dict[str, Any]]) -> dict[str, Party]:
    """The release's rendered pods, workers as the operator creates them, and foreign pods."""
    own = {}
    for manifest in found:
        if manifest["kind"] in {"Deployment", "StatefulSet", "Pod"} and (pod := pod_of(manifest)):
            labels = pod["metadata"]["labels"]
            ports = {p["name"]: p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports", [])}
            own[labels["app.kubernetes.io/component"]] = Party(namespace=NAMESPACE, labels=labels, ports=ports)
    spec = AgentPoolSpec.model_validate({"handler": {"command": {"argv": ["cat"]}}})
    worker = deployment(PoolRef("research", "echo"), "uid", spec, default_image="image")["spec"]["template"]
    ports = {p["name"]: p["containerPort"] for p in worker["spec"]["containers"][0]["ports"]}
    return own | {
        "worker": Party(namespace="research", labels=worker["metadata"]["labels"], ports=ports),
        "neighbour": Party(namespace=NAMESPACE, labels={"app": "other"}),
        "prometheus": Party(namespace="monitoring", labels={"app": "prometheus"}),
        "caller": Party(namespace="callers", labels={"app": "caller"}),
        "outside": Party(),
    }


@pytest.mark.parametrize(
    ("values", "source", "target", "port", "expected"),
    [
        # The bundled Redis accepts connections of its clients, in any worker namespace, and no further ones; it opens
        # none.
        (DEFAULT, "operator", "redis", 6379, True),
        (DEFAULT, "gateway", "redis", 6379, True),
        (DEFAULT, "test", "redis", 6379, True),
        (DEFAULT, "worker", "redis", 6379, True),
        (DEFAULT, "neighbour", "redis", 6379, False),
        (DEFAULT, "prometheus", "redis", 6379, False),
        (DEFAULT, "operator", "redis", 22, False),
        (DEFAULT, "redis", "outside", 443, False),
        (DEFAULT, "redis", "operator", 8081, False),
        # The operator reaches the API server and Redis, and nothing else; readers of metrics reach the operator.
        (DEFAULT, "operator", "outside", 443, True),
        (DEFAULT, "operator", "outside", 6443, True),
        (DEFAULT, "operator", "outside", 80, False),
        (DEFAULT, "operator", "worker", 8080, False),
        (OWN_REDIS, "operator", "outside", 6380, True),
        (OWN_REDIS, "operator", "outside", 6379, False),
        (DEFAULT, "neighbour", "operator", 8081, True),
        (DEFAULT, "neighbour", "operator", 22, False),
        (WALLED, "neighbour", "operator", 8081, False),
        (WALLED, "prometheus", "operator", 8081, True),
        # The gateway: from its callers to the API, from Prometheus to the metrics.
        (DEFAULT, "neighbour", "gateway", 8080, True),
        (WALLED, "caller", "gateway", 8080, True),
        (WALLED, "prometheus", "gateway", 8080, False),
        (WALLED, "prometheus", "gateway", 9090, True),
        (WALLED, "caller", "gateway", 9090, False),
        (WALLED, "neighbour", "gateway", 9090, False),
        (DEFAULT, "neighbour", "gateway", 9090, True),
        (WALLED, "neighbour", "gateway", 8080, False),
        (DEFAULT, "gateway", "outside", 443, True),
        (DEFAULT, "gateway", "outside", 80, False),
        # Workers have no restriction before their policy is enabled.
        (DEFAULT, "worker", "outside", 443, True),
        (WALLED, "worker", "outside", 443, False),
        (WALLED, "worker", "redis", 6379, True),
        (WALLED, "worker", "operator", 8081, False),
        (WALLED, "prometheus", "worker", 8080, True),
        (WALLED, "neighbour", "worker", 8080, False),
        # Without policies every pod reaches every address.
        (OPEN, "neighbour", "redis", 6379, True),
        (OPEN, "redis", "outside", 443, True),
    ],
)
def test_allowed_connections(values: dict[str, Any], source: str, target: str, port: int, expected: bool):  # noqa: FBT001
    """Each component has the connections that it needs, and no more."""
    found = manifests(values)
    known = parties(found)
    assert reaches(found, known[source], known[target], port) is expected


@pytest.mark.parametrize("part", ["operator", "gateway", "worker"])
def test_restricted_pods_can_still_resolve_names(part: str):
    """DNS works over UDP, and over TCP for long answers."""
    found = manifests(WALLED)
    known = parties(found)
    assert reaches(found, known[part], known["outside"], 53, "UDP")
    assert reaches(found, known[part], known["outside"], 53)
    # OpenShift's port, after the translation of the Service's address.
    assert reaches(found, known[part], known["outside"], 5353, "UDP")


@pytest.mark.parametrize("part", ["operator", "gateway"])
def test_further_egress_can_be_allowed(part: str):
    """An HTTP proxy before the API server is such a case."""
    proxy = {"egress": [{"ports": [{"port": 3128, "protocol": "TCP"}]}]}
    found = manifests(DEFAULT | {"networkPolicy": proxy})
    known = parties(found)
    assert reaches(found, known[part], known["outside"], 3128)
    assert not reaches(manifests(DEFAULT), known[part], known["outside"], 3128)


@pytest.mark.parametrize("name", ["dnsPorts", "apiServerPorts", "redisPorts"])
@pytest.mark.parametrize("part", ["operator", "gateway", "worker"])
def test_an_empty_list_of_ports_opens_nothing(part: str, name: str):
    """A rule without ports would allow every connection."""
    walls = WALLED["networkPolicy"]
    found = manifests(WALLED | {"networkPolicy": walls | {name: []}})
    known = parties(found)
    assert not reaches(found, known[part], known["outside"], 80)
    assert reaches(found, known[part], known["redis"], 6379)
