"""A container's environment."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from agentpool_devcluster.kube.quantity import amounts_of
from agentpool_devcluster.node.environment import (
    Reference,
    base_environment,
    command_of,
    environment,
    references,
)
from agentpool_devcluster.node.errors import ContainerConfigError
from agentpool_devcluster.node.expansion import expand
from agentpool_devcluster.node.fields import PodPlace

PLACE = PodPlace(pod_ip="127.70.1.2", host_ip="127.0.0.1", node_name="n1", allocatable=amounts_of({"cpu": "4"}))
POD = {
    "metadata": {
        "name": "p",
        "namespace": "ns",
        "uid": "u-1",
        "labels": {"app": "web"},
        "annotations": {"note": 'say "hi"'},
    },
    "spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": "1Gi"}}}]},
}
SECRET = Reference("Secret", "s")
CONFIG = Reference("ConfigMap", "c")
SOURCES = {
    SECRET: {"data": {"url": base64.b64encode(b"redis://").decode()}},
    CONFIG: {"data": {"MODE": "fast", "not a name!": "x"}},
}


def of(*env, env_from=(), sources=SOURCES, base=None):
    container = {"name": "main", "env": list(env), "envFrom": list(env_from)}
    return environment(container, POD, PLACE, sources, base or {})


def ref(name, **source):
    return {"name": name, "valueFrom": source}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['gone']", ""),
        ("metadata.annotations['note']", 'say "hi"'),
        ("spec.nodeName", "n1"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "127.70.1.2"),
        ("status.hostIP", "127.0.0.1"),
    ],
)
def test_field_references_describe_the_pod(path, value):
    """Every field that Kubernetes offers to a container has a value."""
    assert of(ref("X", fieldRef={"fieldPath": path})) == {"X": value}


def test_resource_references_count_in_units_of_their_divisor():
    """A limit is divided and rounded up; a missing limit is the node's capacity."""
    memory = ref("M", resourceFieldRef={"containerName": "main", "resource": "limits.memory", "divisor": "1Mi"})
    cpu = ref("C", resourceFieldRef={"containerName": "main", "resource": "limits.cpu"})
    assert of(memory, cpu) == {"M": "1024", "C": "4"}


def test_later_values_may_refer_to_earlier_values():
    """`$(NAME)` refers to an earlier value, envFrom included; unknown names stay as written."""
    values = of(
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)$(MODE)$(C)$$(A)"},
        env_from=[{"configMapRef": {"name": "c"}}],
    )
    assert values["B"] == "1fast$(C)$(A)"
    assert "not a name!" not in values
    assert command_of({"command": ["x", "$(A)"], "args": ["$(B)"]}, values) == ["x", "1", "1fast$(C)$(A)"]


def test_a_missing_secret_is_named_and_an_optional_secret_is_left_out():
    """The container waits for a required secret, and starts without an optional secret."""
    needed = ref("X", secretKeyRef={"name": "gone", "key": "url"})
    with pytest.raises(ContainerConfigError, match='secret "gone" not found') as caught:
        of(needed)
    assert caught.value.reason == "CreateContainerConfigError"
    with pytest.raises(ContainerConfigError, match="couldn't find key nope in Secret s"):
        of(ref("X", secretKeyRef={"name": "s", "key": "nope"}))
    assert of(ref("X", secretKeyRef={"name": "gone", "key": "url", "optional": True})) == {}
    assert of(ref("X", secretKeyRef={"name": "s", "key": "url"})) == {"X": "redis://"}
    assert of(env_from=[{"secretRef": {"name": "gone", "optional": True}}]) == {}


def test_references_are_found_before_anything_is_fetched():
    """Keys and whole objects, secrets and config maps."""
    container = {
        "env": [ref("X", secretKeyRef={"name": "s", "key": "url"}), ref("Y", fieldRef={"fieldPath": "metadata.name"})],
        "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "P_"}],
    }
    assert references(container) == {SECRET, CONFIG}


def test_an_image_leads_the_python_path_even_before_the_containers_own():
    """The image's directory precedes the container's PYTHONPATH."""
    base = base_environment(POD, Path("/images/app"))
    values = of({"name": "PYTHONPATH", "value": "/extra"}, base=base)
    assert values["PYTHONPATH"] == "/images/app:/extra"
    assert values["HOSTNAME"] == "p"


def test_our_own_secrets_are_no_container_s_business(monkeypatch):
    """A variable of the node's process does not leak into containers."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert "AWS_SECRET_ACCESS_KEY" not in base_environment(POD, None)


@pytest.mark.parametrize(
    ("text", "result"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A", "$A"), ("$$$(A)", "$1"), ("$(", "$(")],
)
def test_expansion_follows_kubernetes(text, result):
    """Only `$(NAME)` is expanded, `$$` escapes, the rest stays."""
    assert expand(text, {"A": "1"}) == result
