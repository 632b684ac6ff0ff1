"""The chart's values: documented, described by the schema, and refused when misspelt."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from tests.chart.rendering import CHART, ROOT, chart, manifests
from tests.chart.test_hostile_values import BASE, check_types

sys.path.insert(0, str(ROOT / "tools"))

from chart_files import documented_values

REFUSALS = [
    ({"operator": {"replica": 3}}, "/operator", "replica"),
    ({"watchNamespace": ["a"]}, "watchNamespace", "not allowed"),
    ({"operator": {"replicas": "3"}}, "/operator/replicas", "want integer"),
    ({"operator": {"image": {"pullPolicy": "Sometimes"}}}, "/operator/image/pullPolicy", "IfNotPresent"),
    ({"operator": {"image": {"digest": "sha256:short"}}}, "/operator/image/digest", "sha256:"),
    ({"operator": {"port": 70000}}, "/operator/port", "want 65,535"),
    ({"operator": {"logLevel": "loud"}}, "/operator/logLevel", "warning"),
    ({"watchNamespaces": ["Research"]}, "/watchNamespaces/0", "pattern"),
    ({"watchNamespaces": ["a", "a"]}, "/watchNamespaces", "equal"),
    ({"redis": {"existingsecret": "x"}}, "/redis", "existingsecret"),
    ({"redis": {"auth": {"password": "two\nlines"}}}, "/redis/auth/password", "pattern"),
    ({"redis": {"auth": {"password": 123456}}}, "/redis/auth/password", "want string"),
    ({"operator": {"image": {"tag": 1.10}}}, "/operator/image/tag", "want string"),
    ({"operator": {"extraEnv": [{"name": "PORT", "value": 3128}]}}, "/operator/extraEnv/0/value", "want string"),
    ({"fullnameOverride": "Not_a_name"}, "/fullnameOverride", "pattern"),
    ({"redis": {"existingSecret": "../victim"}}, "/redis/existingSecret", "pattern"),
    ({"redis": {"image": {"tag": None}}}, "/redis/image", "tag"),
    ({"operator": {"image": None}}, "/operator", "image"),
    ({"networkPolicy": {"dnsPorts": None}}, "/networkPolicy", "dnsPorts"),
    ({"gateway": {"metricsPort": None}}, "/gateway", "metricsPort"),
    ({"gateway": {"recheckSeconds": None}}, "/gateway", "recheckSeconds"),
    ({"redis": {"persistence": {"size": "two"}}}, "/redis/persistence/size", "pattern"),
    ({"metrics": {"serviceMonitor": {"interval": "often"}}}, "/metrics/serviceMonitor/interval", "pattern"),
    ({"imagePullSecrets": ["pull"]}, "/imagePullSecrets/0", "want object"),
    ({"networkPolicy": {"redisPorts": ["6379"]}}, "/networkPolicy/redisPorts/0", "want integer"),
    ({"gateway": {"auth": {"mode": "tokens"}}}, "/gateway/auth/tokensSecret", "minLength"),
    ({"gateway": {"webhooks": {"hosts": ["a.example"]}}}, "/gateway/webhooks/keysSecret", "minLength"),
    ({"crds": {"keep": "yes"}}, "/crds/keep", "want boolean"),
    ({"gateway": {"externalUrl": "agents.example.org"}}, "/gateway/externalUrl", "pattern"),
    ({"gateway": {"trustedProxies": ["ingress"]}}, "/gateway/trustedProxies/0", "pattern"),
    ({"gateway": {"service": {"type": "Ingress"}}}, "/gateway/service/type", "LoadBalancer"),
]


@pytest.mark.parametrize(("values", "place", "reason"), REFUSALS, ids=[place for _, place, _ in REFUSALS])
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], place: str, reason: str):
    """Helm refuses the value before the installation, and the error has the place and the reason."""
    with pytest.raises(helm_python.HelmValuesError) as refusal:
        chart().validate_schema(values)
    assert place in str(refusal.value)
    assert reason in str(refusal.value)


def test_rendering_checks_the_schema():
    """Rendering also refuses every value that the schema refuses."""
    with pytest.raises(helm_python.HelmError, match="replica"):
        manifests({"operator": {"replica": 3}})


def test_the_gateways_two_ports_must_differ():
    """With equal ports the metrics could not be served, and the pods would restart again and again."""
    with pytest.raises(helm_python.HelmError, match=r"gateway\.metricsPort: 8080 is gateway\.port too"):
        manifests({"gateway": {"enabled": True, "metricsPort": 8080}})


def test_the_defaults_pass_the_schema():
    """The chart's own values pass its schema."""
    chart().validate_schema({})


def _keys(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, child in node.items():
            yield f"{path}{name}"
            yield from _keys(child, f"{path}{name}.")


def _described(schema: dict[str, Any], root: dict[str, Any], path: str = "") -> Iterator[str]:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    for name, child in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from _described(child, root, f"{path}{name}.")


def test_schema_and_values_know_the_same_names():
    """Each value is in the schema, and each name of the schema is a documented value."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    free = {"global", "enabled"}  # of an outer chart: Helm's own, and the usual name of the condition
    inside = (".resources.", "securityContext.pod.", "securityContext.container.", ".labels.", ".topologySpread")
    named = {key for key in _keys(values) if not any(part in key for part in inside)}
    described = {key for key in _described(schema, schema) if not any(part in key for part in inside)}
    assert described - free == named


@pytest.mark.parametrize("value", ["1", "{}", "[]", '""'])
def test_a_value_without_its_sentence_is_refused(value: str):
    """An empty map needs a sentence as well, because it is a value.

    A map with members does not, because they have theirs.
    """
    with pytest.raises(ValueError, match=r"outer\.bare has no comment"):
        list(documented_values(f"outer:\n  # Said.\n  said: 1\n  bare: {value}\n"))


def without(path: str) -> dict[str, Any]:
    """Return values that enable every feature and lack a single value."""
    values = copy.deepcopy(BASE)
    *outer, last = path.split(".")
    node = values
    for name in outer:
        node = node.setdefault(name, {})
    node[last] = None
    return values


def test_a_missing_value_is_refused_by_name_or_not_needed():
    """Values are missing after `helm upgrade --reuse-values`, which adds no new values, or if set to null."""
    refused = set()
    inside = (".resources.", ".seccompProfile.", "securityContext.container.")  # Kubernetes' own, in one piece
    for path in _keys(yaml.safe_load((CHART / "values.yaml").read_text())):
        if any(part in path for part in inside):
            continue
        try:
            check_types(manifests(without(path)))
        except helm_python.HelmValuesError as error:
            refused.add((path, f"missing property '{path.rpartition('.')[2]}'" in str(error)))
    assert {("operator", True), ("gateway.port", True), ("networkPolicy.dnsPorts", True)} <= refused
    assert [path for path, by_name in refused if not by_name] == []
    assert not {"commonLabels", "operator.nodeSelector", "securityContext.pod.runAsUser"} & {
        path for path, _ in refused
    }
