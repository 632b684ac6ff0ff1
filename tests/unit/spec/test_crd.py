"""The generated CustomResourceDefinition keeps the rules of Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from agentpool_core.spec.crd import custom_resource_definition, to_yaml
from agentpool_core.spec.queue import SecretKeyRef
from agentpool_devcluster.api.schema.expressions import evaluate

VERSION = custom_resource_definition()["spec"]["versions"][0]
ROOT_SCHEMA = VERSION["schema"]["openAPIV3Schema"]


def nodes(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of a structural schema, with a path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(f"{path}.{name}", child)
    if "items" in schema:
        yield from nodes(f"{path}[]", schema["items"])


ALL = list(nodes("", ROOT_SCHEMA))


def test_the_file_equals_the_generated_definition():
    """The file `crds/agentpools.yaml` holds the generated definition."""
    text = (Path(__file__).parents[3] / "crds/agentpools.yaml").read_text()
    assert yaml.safe_load(text) == yaml.safe_load(to_yaml(custom_resource_definition()))


def test_the_schema_is_structural():
    """Every node has a type and no keyword that Kubernetes forbids in structural schemas."""
    forbidden = {"$ref", "anyOf", "oneOf", "allOf", "not", "title", "const", "additionalProperties", "definitions"}
    for path, schema in ALL:
        assert "type" in schema, path
        assert not forbidden & set(schema), path


def test_every_field_is_described():
    """`kubectl explain` has a sentence for each field, with the default at the end."""
    for path, schema in ALL:
        if path.startswith((".spec", ".status")) and not path.endswith("[]"):
            assert schema.get("description", "").endswith("."), path
        if schema.get("default") not in (None, {}):
            assert " Default: " in schema["description"], path


def test_durations_name_their_unit():
    """The description of a field in seconds names the unit."""
    for path, schema in ALL:
        if path.endswith("Seconds"):
            assert "second" in schema["description"], path


def test_only_the_handler_is_required():
    """A three-line spec works: everything but the handler has a default or may be unset."""
    assert ROOT_SCHEMA["properties"]["spec"]["required"] == ["handler"]


def test_status_has_no_defaults():
    """A status contains only observed values."""
    assert not [path for path, schema in nodes("", ROOT_SCHEMA["properties"]["status"]) if "default" in schema]


def test_scale_and_status_are_subresources():
    """`kubectl scale` and an HPA find replicas and selector."""
    assert VERSION["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }


PERIOD = {"name": "office", "start": "45 7 * * 1-5", "end": "0 18 * * 1-5", "minReplicas": 4}


@pytest.mark.parametrize(
    ("path", "bad", "good"),
    [
        (".spec.handler", {}, {"python": {"app": "a:b"}}),
        (".spec.handler.python", {"app": "repo_analyst"}, {"app": "repo.analyst:app"}),
        (".spec.handler.python", {"app": "repo-analyst:app"}, {"app": "a:b.c"}),
        (".spec.handler", {"http": {"port": 80}, "command": {"argv": ["x"]}}, {"command": {"argv": ["x"]}}),
        (
            ".spec.handler.command",
            {"argv": ["x"], "passEnv": ["AGENTPOOL_REDIS_URL"]},
            {"argv": ["x"], "passEnv": ["OPENAI_*"]},
        ),
        (".spec.worker.adaptive", {"min": 3, "max": 2}, {"min": 2, "max": 2}),
        (".spec.scaling", {"minReplicas": 3, "maxReplicas": 2}, {"minReplicas": 0, "maxReplicas": 2}),
        (".spec.scaling", {"maxReplicas": 2, "schedules": [PERIOD]}, {"maxReplicas": 4, "schedules": [PERIOD]}),
        (
            ".spec.scaling",
            {"targets": [{"priority": "info", "waitSeconds": 60}] * 2},
            {"targets": [{"priority": "info", "waitSeconds": 60, "percentile": 90}]},
        ),
        (".spec.scaling", {"schedules": [PERIOD, PERIOD]}, {"schedules": [PERIOD, {**PERIOD, "name": "night"}]}),
        (".spec.queue.retry", {"initialSeconds": 9, "maxSeconds": 1}, {"initialSeconds": 1, "maxSeconds": 1}),
        (".spec.queue.limits[].budget", {"amount": 0}, {"amount": 1}),
        (".spec.queue.limits[]", {"name": "a", "rate": {}, "budget": {}}, {"name": "a", "budget": {}}),
        (".spec.queue.redis", {}, {"url": "redis://redis:6379"}),
        (".spec.queue.redis", {"url": "redis://:secret@redis:6379"}, {"urlFrom": {"secretKeyRef": {"name": "r"}}}),
        (".spec.gpu", {"policy": "Existing", "maxPending": 2}, {"policy": "Provision", "maxPending": 2}),
        (
            ".spec",
            {"routes": [{"name": "a", "kinds": ["x"]}, {"name": "b", "kinds": ["x"]}]},
            {"routes": [{"name": "a", "kinds": ["x"]}, {"name": "b"}]},
        ),
        (
            ".spec",
            {"queue": {"unlistedKinds": "Refuse"}, "routes": [{"name": "a", "maxRunning": 1}]},
            {"queue": {"unlistedKinds": "Refuse"}, "routes": [{"name": "a", "kinds": ["x"]}, {"name": "b"}]},
        ),
        (
            ".spec",
            {"routes": [{"name": "a", "resources": {"gpuMemoryMib": 9}}], "worker": {"gpuMemoryMib": 8}},
            {"routes": [{"name": "a", "resources": {"gpuMemoryMib": 8}}], "worker": {"gpuMemoryMib": 8}},
        ),
        (".spec", {"queue": {"unlistedKinds": "Refuse"}}, {"queue": {"unlistedKinds": "Accept"}}),
        ("", {"metadata": {"name": "a" * 64}}, {"metadata": {"name": "a" * 63}}),
    ],
)
def test_the_rules_refuse_and_admit(path: str, bad: dict[str, Any], good: dict[str, Any]):
    """Each CEL rule refuses specs that cannot be served, with a message that names the remedy, and admits the rest."""
    rules = dict(ALL)[path]["x-kubernetes-validations"]
    assert all(evaluate(rule["rule"], {"self": good}) for rule in rules)
    broken = [rule for rule in rules if not evaluate(rule["rule"], {"self": bad})]
    assert broken
    assert all(";" in rule["message"] for rule in broken)
    for rule in broken:
        if "messageExpression" in rule:
            assert ";" in evaluate(rule["messageExpression"], {"self": bad})


def test_no_message_concatenates_texts_of_unknown_length():
    """Kubernetes bounds an expression's cost; adding to `string(number)` counts as endless, and the CRD is refused."""
    explained = [
        rule["messageExpression"]
        for _, schema in ALL
        for rule in schema.get("x-kubernetes-validations", ())
        if "messageExpression" in rule
    ]
    assert explained
    assert [text for text in explained if "string(" in text] == []


def test_a_wrong_app_is_reported_with_its_value_and_an_example():
    """The message for `app: repo_analyst` has the value and a correct example, not a regular expression."""
    (rule,) = dict(ALL)[".spec.handler.python"]["x-kubernetes-validations"]
    reported = evaluate(rule["messageExpression"], {"self": {"app": "repo_analyst"}})
    assert reported == (
        "app (repo_analyst) must be module:attribute; name the module and the App in it, such as my_agents:app"
    )
    assert "pattern" not in dict(ALL)[".spec.handler.python.app"]


@pytest.mark.parametrize(
    ("path", "found", "reported"),
    [
        (".spec.handler", {"http": {}, "command": {}}, "holds http command;"),
        (".spec.handler", {}, "holds none;"),
        (".spec", {"routes": [{}, {"kinds": ["y", "x"]}, {"kinds": ["x"]}]}, "more list x;"),
    ],
)
def test_exclusive_fields_are_named(path: str, found: dict[str, Any], reported: str):
    """The message for two handlers, or for a repeated kind, names the handlers or the kind."""
    rules = dict(ALL)[path]["x-kubernetes-validations"]
    (broken,) = [rule for rule in rules if not evaluate(rule["rule"], {"self": found})]
    assert reported in evaluate(broken["messageExpression"], {"self": found})


@pytest.mark.parametrize(
    ("path", "schema"), [(p, s) for p, s in ALL if s.get("default") == {}], ids=lambda v: str(v)[:40]
)
def test_an_empty_default_passes_its_own_rules(path: str, schema: dict[str, Any]):
    """The API server checks `default: {}` before the nested defaults apply."""
    for rule in schema.get("x-kubernetes-validations", []):
        assert evaluate(rule["rule"], {"self": {}}), path


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("name", "../../victim/secrets/api-key"),
        ("name", ".."),
        ("name", ""),
        ("name", "a/b"),
        ("name", "a%2fb"),
        ("name", "A"),
        ("name", "a..b"),
        ("name", "a\n"),
        ("key", "../url"),
        ("key", ".."),
        ("key", "."),
        ("key", ""),
        ("key", "a b"),
    ],
)
def test_a_secret_cannot_be_named_by_a_path(field: str, text: str):
    """The schema refuses such a name, and so does the code that reads a resource older than the schema."""
    reference = dict(ALL)[".spec.queue.redis.urlFrom.secretKeyRef"]["properties"]
    assert not re.match(reference[field]["pattern"].replace("$", r"\Z"), text)
    with pytest.raises(ValidationError):
        SecretKeyRef(**{"name": "redis", field: text})


@pytest.mark.parametrize(("name", "key"), [("redis", "url"), ("a.b-c.d0", "REDIS_URL"), ("r", ".url-1"), ("r", "a..b")])
def test_a_name_that_kubernetes_accepts_is_accepted(name: str, key: str):
    """The names are valid for Secrets and for keys of Secrets."""
    assert SecretKeyRef(name=name, key=key).key == key


def test_every_name_in_the_spec_has_a_pattern_or_a_rule():
    """A text that refers to an object has a rule; the free texts are listed here, each with the reason."""
    free = {
        ".spec.handler.python.app",  # a rule with a better message, and a check in code
        ".spec.handler.command.argv[]",  # arguments of a program; no shell
    }
    texts = {
        path
        for path, schema in ALL
        if path.startswith(".spec") and schema["type"] == "string" and not {"pattern", "enum"} & set(schema)
    }
    assert texts <= free, texts - free
