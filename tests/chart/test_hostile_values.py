"""Values that YAML could misread: numbers, dates, booleans, and characters with a meaning in YAML.

The schema names every text value, so a new value is covered without an entry here.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import helm_python
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.connection import parse_url

from agentpool_core.spec import AgentPoolSpec
from tests.chart.rendering import CHART, chart, check_against_kubernetes, manifests, only, pod_of

Path = tuple[str | int, ...]

HOSTILE = (
    *("123456", "0x1f", "1e6", "1_000", "1:30", "1.10", "2024-01-01", "2001-12-14t21:59:43.10-05:00"),
    *("true", "no", "null", "~", "-", "- a", "-x", "a: b", "a #b", "#a", "*a", "&a", "@a", "{a", "'", '"', 'a"b', "\\"),
    *(" a ", "p@s:s/w#1?&=+%20", "ключ-ü-鍵", "\N{KEY}", "|", "{{ .Values }}"),
)  # fmt: skip
PLAIN = "plain"
# Every feature is enabled, so each value has a place in the manifests.
BASE: dict[str, Any] = {
    "gateway": {
        "enabled": True,
        "auth": {"mode": "tokens", "tokensSecret": "callers"},
        "webhooks": {"hosts": ["hooks.example.org"], "keysSecret": "webhooks"},
        "a2a": {"cardKeySecret": "card"},
        "grafanaUrl": "https://grafana.example.org/d/agentpool",
        "extraEnv": [{"name": "GIVEN", "value": "given"}],
    },
    "redis": {"persistence": {"storageClass": "fast"}},
    "networkPolicy": {"workers": {"enabled": True}},
    "metrics": {name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "prometheusRule", "dashboard")},
    "operator": {"extraEnv": [{"name": "GIVEN", "value": "given"}]},
    "crds": {"enabled": False},
}
# These values replace further values, so their release lacks the replaced values.
ALONE = {
    ("redis", "existingSecret"): BASE,
    ("redis", "existingSecretKey"): BASE | {"redis": {"existingSecret": "mine"}},
    ("gateway", "auth", "audiences", 0): BASE | {"gateway": {"enabled": True}},
}
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
FREE = {("extraObjects", 0)}  # a template of the user's own
DASHBOARD_UID = re.compile(r"agentpool-[0-9a-f]{8}(?=\")")  # a checksum of the release
COMPUTED = {"checksum/config", "checksum/password", "checksum/roles", "url", "auth.conf", "password"}
PARSED_BY_THE_PROMETHEUS_OPERATOR = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


def text_values(schema: dict[str, Any] = SCHEMA, path: Path = ()) -> Iterator[Path]:
    """Return the places of text in the schema: a value, an item of a list, or a value under a free key of a map."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if "string" in schema.get("type", ()) and path not in FREE:
        yield path
    for name, child in schema.get("properties", {}).items():
        yield from text_values(child, (*path, name))
    if isinstance(child := schema.get("items"), dict):
        yield from text_values(child, (*path, 0))
    if isinstance(child := schema.get("additionalProperties"), dict):
        yield from text_values(child, (*path, "example.com/key"))


def with_values(paths: Iterable[Path], value: str, base: dict[str, Any] = BASE) -> dict[str, Any]:
    """Return the base values with one value at all these places."""
    values = copy.deepcopy(base)
    for path in paths:
        _put(values, path, value)
    return values


def _put(node: Any, path: Path, value: Any) -> None:
    name, *rest = path
    inner: Any = value if not rest else [] if isinstance(rest[0], int) else {}
    if isinstance(name, int):
        node[name:] = [inner] if not rest or not node else node
    elif not rest or name not in node:
        node[name] = inner
    if rest:
        _put(node[name], tuple(rest), value)


@functools.cache
def accepted(value: str) -> list[Path]:
    """Return the places where the schema accepts a value; each refusal must name the place."""
    paths = [path for path in text_values() if path not in ALONE]
    try:
        chart().validate_schema(with_values(paths, value))
    except helm_python.HelmValuesError as error:
        refused = set(re.findall(r"- at '([^']*)'", str(error)))
        assert refused
        paths = [path for path in paths if pointer(path) not in refused]
    chart().validate_schema(with_values(paths, value))
    return paths


def pointer(path: Path) -> str:
    """Return a place as a JSON pointer."""
    return "".join("/" + str(name).replace("~", "~0").replace("/", "~1") for name in path)


def replaced(node: Any, old: str, new: str) -> Any:
    """Replace a text in a manifest, except in computed fields: checksums, and the Secret's own forms."""
    if isinstance(node, str):
        return DASHBOARD_UID.sub("computed", node.replace(old, new))
    if isinstance(node, dict):
        return {key: replaced(child, old, new) for key, child in node.items() if key not in COMPUTED}
    return [replaced(child, old, new) for child in node] if isinstance(node, list) else node


def texts(node: Any) -> Iterator[str]:
    """Return all text in a manifest except keys."""
    if isinstance(node, str):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from texts(child)


def check_types(found: list[dict[str, Any]]) -> None:
    """Fail if a manifest has a number, a boolean or nothing in place of a Kubernetes text."""
    for manifest in found:
        if manifest["kind"] == "AgentPool":
            AgentPoolSpec.model_validate(manifest["spec"])
        elif manifest["kind"] not in PARSED_BY_THE_PROMETHEUS_OPERATOR:
            check_against_kubernetes(manifest)
        for labels in ("labels", "annotations"):
            assert all(isinstance(value, str) for value in manifest["metadata"].get(labels, {}).values())
        if (pod := pod_of(manifest)) and "metadata" in pod:
            assert all(isinstance(value, str) for value in pod["metadata"].get("labels", {}).values())


@pytest.mark.parametrize("value", HOSTILE)
def test_text_stays_text(value: str):
    """An accepted value renders as any text would, with no number or map in that place."""
    places = accepted(value)
    assert len(places) > 10  # labels, annotations, arguments and variables take any text
    check_types(manifests(with_values(places, value)))
    alike = [path for path in places if path in accepted(PLAIN)]
    assert as_plain(alike, value) == replaced(as_plain(alike, PLAIN), PLAIN, value)


def as_plain(paths: list[Path], value: str) -> Any:
    """Return the manifests with a value at these places, without computed fields."""
    return replaced(manifests(with_values(paths, value)), "", "")


@pytest.mark.parametrize("path", ALONE, ids=pointer)
def test_text_that_replaces_values_stays_text(path: Path):
    """The schema refuses the place, or the value is text in every manifest."""
    for value in (PLAIN, *HOSTILE):
        values = with_values([path], value, ALONE[path])
        try:
            chart().validate_schema(values)
        except helm_python.HelmValuesError as error:
            if pointer(path) not in str(error):
                raise
            continue
        found = manifests(values)
        check_types(found)
        assert any(value in text for text in texts(found)), value


def test_every_text_value_has_an_effect():
    """Each value is read, so the tests above cover the value; the names of alerts only disable alerts."""
    without = as_plain([], PLAIN)
    for path in accepted(PLAIN):
        if path != ("redis", "auth", "password") and "disabled" not in path:
            assert as_plain([path], PLAIN) != without, path


@pytest.mark.parametrize("name", ["123", "1e6", "0x1f", "true", "null", "2024-01-01", "1-2"])
def test_a_release_and_a_namespace_may_look_like_numbers(name: str):
    """Both are valid names, and occur in labels, names and references."""
    values = copy.deepcopy(BASE) | {"watchNamespaces": [name], "fullnameOverride": name}
    found = manifests(values, release=name, namespace=name)
    check_types(found)
    namespaces = {m["metadata"]["namespace"] for m in found if "namespace" in m["metadata"]}
    assert namespaces == {name}


def secret_of(password: str) -> dict[str, str]:
    """Return the bundled Redis's Secret with a password."""
    return dict(only(manifests({"redis": {"auth": {"password": password}}}), "Secret", "agentpool-redis")["stringData"])


@settings(max_examples=30, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1) | st.sampled_from(HOSTILE))
def test_any_password_is_the_same_everywhere(password: str):
    """The Secret's key, the URL as the client reads it, and the server's line all mean the given password."""
    secret = secret_of(password)
    assert secret["password"] == password
    assert parse_url(secret["url"])["password"] == password
    assert parse_url(secret["url"])["host"] == "agentpool-redis.agents.svc"
    quoted = re.fullmatch(r'requirepass "((?:[^"\\]|\\["\\])*)"\n', secret["auth.conf"])
    assert quoted
    assert re.sub(r"\\(.)", r"\1", quoted[1]) == password


@pytest.mark.parametrize(("number", "shown"), [(1_000_000, "1000000"), (2_500_000.0, "2500000"), (0.5, "0.5")])
def test_a_large_number_is_written_out(number: float, shown: str):
    """The number is not written as 1e+06, which is no integer to Kubernetes."""
    found = manifests({"gateway": {"enabled": True, "rate": number, "terminationGracePeriodSeconds": 1_000_000}})
    pod = only(found, "Deployment", "agentpool-gateway")["spec"]["template"]["spec"]
    assert f"--rate={shown}" in pod["containers"][0]["args"]
    assert pod["terminationGracePeriodSeconds"] == 1_000_000
