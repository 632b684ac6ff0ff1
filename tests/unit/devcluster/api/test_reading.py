"""Selectors, paths, content types, tables: how requests are read and answers are shaped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agentpool_devcluster.api.access.rules import Attempt, covers
from agentpool_devcluster.api.builtins import register_builtins
from agentpool_devcluster.api.errors import StatusError
from agentpool_devcluster.api.http.bodies import decode, duplicates
from agentpool_devcluster.api.http.negotiation import choose
from agentpool_devcluster.api.http.paths import parse_target, split_token, verb_of
from agentpool_devcluster.api.registry import Registry, version_rank
from agentpool_devcluster.api.selectors import parse_labels, selector_matches, selector_text
from agentpool_devcluster.api.store import CollectionKey, ObjectKey, Store
from agentpool_devcluster.api.tables.ages import duration_text, short
from agentpool_devcluster.api.tables.json_path import find
from agentpool_devcluster.api.tables.pods import pod_phase, pod_ready
from agentpool_devcluster.api.wire.protobuf import decode_protobuf


@pytest.mark.parametrize(("selector", "selected"), [
    ("a=1", True), ("a==1", True), ("a!=1", False), ("a", True), ("!a", False), ("!z", True), ("a in (1,2)", True),
    ("a notin (1, 2)", False), ("z notin (1)", True), ("n>4", True), ("n<4", False), ("a=1,n", True),
    ("a=1,!n", False), ("app.kubernetes.io/name=x", True), ("", True),
])  # fmt: skip
def test_label_selectors(selector: str, *, selected: bool) -> None:
    """Every form of requirement selects as Kubernetes does."""
    labels = {"a": "1", "n": "5", "app.kubernetes.io/name": "x"}
    assert parse_labels(selector)(labels) is selected


@pytest.mark.parametrize("selector", ["a=(", "in (a)", "a in b", "a>x", "a==b=c,(", "=x"])
def test_malformed_label_selectors_are_refused(selector: str) -> None:
    """A malformed selector is a 400 that quotes the selector."""
    with pytest.raises(StatusError) as refused:
        parse_labels(selector)({})
    assert refused.value.code == 400


def test_selector_objects() -> None:
    """LabelSelector objects select by labels and expressions, and have a text form."""
    selector = {
        "matchLabels": {"a": "1"},
        "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["x", "y"]}, {"key": "c", "operator": "DoesNotExist"},
        ],
    }  # fmt: skip
    assert selector_matches(selector, {"a": "1", "b": "x"})
    assert not selector_matches(selector, {"a": "1", "b": "x", "c": ""})
    assert selector_matches({}, {"any": "thing"})
    assert not selector_matches(None, {})
    assert selector_text(selector) == "a=1,b in (x,y),!c"


@pytest.mark.parametrize(("path", "expected"), [
    ("/api/v1/pods", ("", "v1", "pods", None, "", "")),
    ("/api/v1/namespaces", ("", "v1", "namespaces", None, "", "")),
    ("/api/v1/namespaces/ns", ("", "v1", "namespaces", None, "ns", "")),
    ("/api/v1/namespaces/ns/status", ("", "v1", "namespaces", None, "ns", "status")),
    ("/api/v1/namespaces/ns/pods/p/log", ("", "v1", "pods", "ns", "p", "log")),
    ("/apis/apps/v1/namespaces/ns/deployments/d/scale", ("apps", "v1", "deployments", "ns", "d", "scale")),
    ("/apis/apps/v1", ("apps", "v1", "", None, "", "")),
])  # fmt: skip
def test_paths_are_parsed(path: str, expected: tuple) -> None:
    """A path of the resource API names group, version, resource, namespace, object and subresource."""
    target = parse_target(path)
    assert target is not None
    found = (target.group, target.version, target.plural, target.namespace, target.name, target.subresource)
    assert found == expected


def test_paths_that_are_no_resources() -> None:
    """Discovery and health are no resources; a token may stand before any path."""
    assert [parse_target(path) for path in ("/", "/api", "/apis", "/apis/apps", "/version")] == [None] * 5
    assert split_token("/token/abc/api/v1") == ("abc", "/api/v1")
    assert split_token("/api/v1") == ("", "/api/v1")


@pytest.mark.parametrize(("method", "path", "query", "verb"), [
    ("GET", "/api/v1/pods", {}, "list"), ("GET", "/api/v1/pods", {"watch": "1"}, "watch"),
    ("GET", "/api/v1/namespaces/n/pods/p", {}, "get"), ("DELETE", "/api/v1/namespaces/n/pods", {}, "deletecollection"),
    ("POST", "/api/v1/namespaces/n/pods", {}, "create"), ("PATCH", "/api/v1/namespaces/n/pods/p", {}, "patch"),
])  # fmt: skip
def test_verbs(method: str, path: str, query: dict, verb: str) -> None:
    """The verb follows from method, path and query."""
    target = parse_target(path)
    assert target is not None
    assert verb_of(method, target, query) == verb


def test_the_first_acceptable_form_is_chosen() -> None:
    """Protobuf is passed over for JSON; tables are returned on request; unknown forms are refused."""
    assert choose("application/vnd.kubernetes.protobuf,application/json", ()).media_type == "application/json"
    assert choose("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", ("Table",)).shape == "Table"
    assert choose("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", ()).shape == ""
    assert choose("application/yaml", ()).media_type == "application/yaml"
    with pytest.raises(StatusError) as refused:
        choose("application/vnd.kubernetes.protobuf", ())
    assert refused.value.code == 406


def test_bodies_are_json_or_yaml() -> None:
    """JSON and YAML are read; broken text is a 400, an unknown format a 415."""
    assert decode(b'{"a": 1}', "application/json; charset=utf-8") == {"a": 1}
    assert decode(b"a: 1\n", "application/apply-patch+yaml") == {"a": 1}
    assert decode(b"  ", "application/json") is None
    for text, content_type, code in (
        (b"{", "application/json", 400),
        (b"a: [", "application/yaml", 400),
        (b"x", "text/html", 415),
    ):
        with pytest.raises(StatusError) as refused:
            decode(text, content_type)
        assert refused.value.code == code


def test_duplicate_fields_are_found() -> None:
    """Fields that are given twice are named with their path, in JSON and YAML."""
    assert duplicates(b'{"a":{"b":1,"b":2},"c":[{"d":1,"d":2}]}', "application/json") == ("a.b", "c[0].d")
    assert duplicates(b"a: {b: 1, b: 2}", "application/yaml") == ("a.b",)


def test_versions_are_ordered_by_stability() -> None:
    """Stable versions come before beta and alpha, newer before older."""
    versions = ["v1alpha1", "v1", "v2beta1", "v2", "v1beta2", "v10"]
    assert sorted(versions, key=version_rank) == ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1"]


@pytest.mark.parametrize(("seconds", "text"), [
    (5, "5s"), (119, "119s"), (125, "2m5s"), (600, "10m"), (7200, "120m"), (4 * 3600 + 60, "4h1m"), (86400, "24h"),
    (3 * 86400, "3d"), (400 * 86400, "400d"), (3 * 365 * 86400, "3y"),
])  # fmt: skip
def test_ages_are_short(seconds: int, text: str) -> None:
    """Ages are shown as kubectl shows them."""
    assert short(seconds) == text
    now = datetime.now(UTC)
    assert duration_text(now - timedelta(seconds=seconds), now) == text


@pytest.mark.parametrize(("path", "values"), [
    (".spec.a", [1]), (".spec.items[0].n", ["x"]), (".spec.items[*].n", ["x", "y"]), (".spec.none", []),
    ('.spec.items[?(@.n=="y")].v', [2]), (r".metadata.annotations.example\.org/x", ["z"]), (".spec['a']", [1]),
])  # fmt: skip
def test_json_paths_of_columns(path: str, values: list) -> None:
    """Printer columns find fields, elements and filtered elements."""
    body = {
        "metadata": {"annotations": {"example.org/x": "z"}},
        "spec": {"a": 1, "items": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]},
    }  # fmt: skip
    assert find(body, path) == values


def test_the_status_of_a_pod_is_a_single_word() -> None:
    """The status comes from phase, container states and deletion; the most specific word wins."""
    running = {
        "metadata": {}, "spec": {"containers": [{}]},
        "status": {"phase": "Running", "containerStatuses": [{"ready": True, "state": {"running": {}}}]},
    }  # fmt: skip
    assert (pod_phase(running), pod_ready(running)) == ("Running", "1/1")
    waiting = {
        **running,
        "status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]},
    }
    assert pod_phase(waiting) == "ErrImagePull"
    assert pod_phase({**running, "metadata": {"deletionTimestamp": "x"}}) == "Terminating"
    failed = {
        **running,
        "status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]},
    }
    assert pod_phase(failed) == "ExitCode:3"


@pytest.mark.parametrize(("rule", "allowed"), [
    ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, True),
    ({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments/scale"]}, True),
    ({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["*/scale"]}, True),
    ({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"]}, False),
    ({"verbs": ["get"], "apiGroups": [""], "resources": ["*"]}, False),
    ({"verbs": ["list"], "apiGroups": ["*"], "resources": ["*"]}, False),
    ({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["*"], "resourceNames": ["web"]}, True),
    ({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["*"], "resourceNames": ["other"]}, False),
    ({"verbs": ["get"], "nonResourceURLs": ["*"]}, False),
])  # fmt: skip
def test_rules_cover_verbs_groups_resources_and_names(rule: dict, *, allowed: bool) -> None:
    """A role's rule covers verbs, groups, resources with subresources, and names."""
    attempt = Attempt(verb="get", group="apps", resource="deployments", subresource="scale", namespace="n", name="web")
    assert covers(rule, attempt) is allowed


def test_the_store_remembers_and_forgets() -> None:
    """A collection shows past states within its history, and refuses older states."""
    store = Store(history=3)
    key = CollectionKey("", "configmaps")
    versions = [store.put(ObjectKey(key, "n", str(index)), {"metadata": {"name": str(index), "namespace": "n"}}).version
                for index in range(3)]  # fmt: skip
    collection = store.collection(key)
    past = collection.items_at(versions[1])
    assert past is not None
    assert [name for _, name, _ in past] == ["0", "1"]
    store.remove(ObjectKey(key, "n", "0"))
    store.remove(ObjectKey(key, "n", "1"))
    assert collection.items_at(versions[0]) is None
    assert collection.since(versions[0]) is None
    changes = collection.since(versions[2])
    assert changes is not None
    assert [change.kind for change in changes] == ["DELETED", "DELETED"]


def test_protobuf_bodies_become_objects() -> None:
    """A ConfigMap in Kubernetes protobuf reads as the same object in JSON; unknown kinds are refused."""
    registry = Registry()
    register_builtins(registry)

    def find_schema(api_version: str, kind: str) -> object:
        found = registry.find_kind(api_version, kind)
        return found.schema() if found else None

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    def envelope(kind: bytes, raw: bytes) -> bytes:
        return b"k8s\x00" + field(1, field(1, b"v1") + field(2, kind)) + field(2, raw)

    entry = field(1, b"a") + field(2, b"b")
    raw = field(1, field(1, b"one") + field(8, b"")) + field(2, entry)
    assert decode_protobuf(envelope(b"ConfigMap", raw), find_schema) == {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "b"},
    }  # fmt: skip
    with pytest.raises(StatusError) as refused:
        decode_protobuf(envelope(b"Odd", raw), find_schema)
    assert refused.value.code == 415
