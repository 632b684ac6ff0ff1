"""Label and field selectors: parsed once from their text, then applied to objects.

The selectable fields depend on the resource, as on a Kubernetes server; unknown fields are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agentpool_devcluster.api.errors import bad_request
from agentpool_devcluster.api.objects import Json, labels_of
from agentpool_devcluster.api.registry import Resource

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<absent_key>[^\s,=!()<>]+)"
    r"|(?P<key>[^\s,=!()<>]+)\s*(?:(?P<op>==|=|!=|>|<)\s*(?P<value>[^\s,()]*)"
    r"|\s(?P<set_op>in|notin)\s*\((?P<values>[^)]*)\))?)\s*(?:,|$)"
)
_EVERYWHERE = ("metadata.name", "metadata.namespace")
_FIELDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName",
    ),
    ("", "events"): (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type",
    ),
    ("events.k8s.io", "events"): (
        "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion",
        "regarding.resourceVersion", "regarding.fieldPath", "reason", "reportingController", "type",
    ),
    ("", "nodes"): ("spec.unschedulable",),
    ("", "secrets"): ("type",),
    ("", "namespaces"): ("status.phase",),
    ("apps", "replicasets"): ("status.replicas",),
    ("batch", "jobs"): ("status.successful",),
}  # fmt: skip
_STORED_NAMES = {
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
}  # events are stored in their core form


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """A parsed pair of label and field selectors."""

    tests: tuple[Callable[[Json], bool], ...] = ()  # all must hold
    name: str | None = None  # metadata.name if fixed by the field selector
    namespace: str | None = None  # metadata.namespace if fixed by the field selector

    @property
    def selects_all(self) -> bool:
        """True if no object is left out."""
        return not self.tests

    def matches(self, body: Json) -> bool:
        """Return whether the selector matches an object."""
        return all(test(body) for test in self.tests)


EVERYTHING = Selector()


def parse(resource: Resource, labels: str, fields: str) -> Selector:
    """Parse the labelSelector and fieldSelector parameters. Raises a 400 refusal for malformed selectors."""
    if not labels and not fields:
        return EVERYTHING
    exact: dict[str, str] = {}
    tests = [*_label_tests(labels), *_field_tests(resource, fields, exact)]
    return Selector(tests=tuple(tests), name=exact.get("metadata.name"), namespace=exact.get("metadata.namespace"))


def parse_labels(text: str) -> Callable[[Mapping[str, str]], bool]:
    """Return a predicate over labels. Raises a 400 refusal for a malformed selector."""
    requirements = _requirements(text)
    return lambda labels: all(test(labels) for test in requirements)


def _label_tests(text: str) -> list[Callable[[Json], bool]]:
    if not text.strip():
        return []
    predicate = parse_labels(text)
    return [lambda body: predicate(labels_of(body))]


def _requirements(text: str) -> list[Callable[[Mapping[str, str]], bool]]:
    found: list[Callable[[Mapping[str, str]], bool]] = []
    position = 0
    while position < len(text):
        match = _REQUIREMENT.match(text, position)
        if match is None or match.end() == position:
            raise bad_request(f'unable to parse requirement: found "{text[position:]}" in selector "{text}"')
        found.append(_requirement(match))
        position = match.end()
    return found


def _requirement(match: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    if match["absent"]:
        absent = match["absent_key"]
        return lambda labels: absent not in labels
    if match["set_op"]:
        return _membership(match)
    key, operator, value = match["key"], match["op"], match["value"]
    if operator in (">", "<"):
        return _compared(key, operator, value)
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    if operator:
        return lambda labels: labels.get(key) == value
    return lambda labels: key in labels


def _membership(match: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    key, wanted = match["key"], match["set_op"] == "in"
    values = frozenset(item.strip() for item in match["values"].split(","))
    return lambda labels: (labels.get(key) in values) == wanted


def _compared(key: str, operator: str, value: str) -> Callable[[Mapping[str, str]], bool]:
    if not value.lstrip("-").isdigit():
        raise bad_request(f"\"{key}{operator}{value}\": for 'Gt', 'Lt' operators, the value must be an integer")
    limit = int(value)

    def test(labels: Mapping[str, str]) -> bool:
        found = labels.get(key, "")
        if not found.lstrip("-").isdigit():
            return False
        return int(found) > limit if operator == ">" else int(found) < limit

    return test


def _field_tests(resource: Resource, text: str, exact: dict[str, str]) -> list[Callable[[Json], bool]]:
    tests: list[Callable[[Json], bool]] = []
    allowed = (*_EVERYWHERE, *_FIELDS.get((resource.group, resource.plural), ()), *resource.selectable_fields)
    for term in filter(None, (part.strip() for part in text.split(","))):
        match = re.match(r"^([^=!]+)(==|=|!=)(.*)$", term)
        if match is None:
            raise bad_request(f'invalid selector: "{term}"; can\'t understand "{term}"')
        path, operator, value = match.groups()
        if path not in allowed:
            raise bad_request(f"field label not supported: {path} (served here: {', '.join(allowed)})")
        if operator != "!=":
            exact[path] = value
        tests.append(_field_test(path, value, negate=operator == "!="))
    return tests


def _field_test(path: str, value: str, *, negate: bool) -> Callable[[Json], bool]:
    first, _, rest = path.partition(".")
    steps = tuple(filter(None, (_STORED_NAMES.get(first, first), *rest.split("."))))
    return lambda body: (_text_at(body, steps) == value) != negate


def _text_at(body: Json, steps: tuple[str, ...]) -> str:
    found: Any = body
    for step in steps:
        found = found.get(step) if isinstance(found, dict) else None
    if steps == ("source",):
        found = found.get("component") if isinstance(found, dict) else None
    if isinstance(found, bool):
        return str(found).lower()
    if found is None:
        return "false" if steps in (("spec", "unschedulable"), ("spec", "hostNetwork")) else ""
    return str(found)


def selector_matches(selector: Json | None, labels: Mapping[str, str]) -> bool:
    """Return whether a LabelSelector object selects these labels; None selects nothing."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression_holds(item, labels) for item in selector.get("matchExpressions") or ())


def _expression_holds(expression: Json, labels: Mapping[str, str]) -> bool:
    key, values = str(expression.get("key")), expression.get("values") or []
    operator = expression.get("operator")
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    return operator == "DoesNotExist" and key not in labels


def selector_text(selector: Json | None) -> str:
    """Return a LabelSelector object as text, as in scale subresources."""
    if not selector:
        return ""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for item in selector.get("matchExpressions") or ():
        values = ",".join(sorted(item.get("values") or []))
        key = item.get("key")
        parts.append(
            {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": f"{key}"}.get(
                str(item.get("operator")), f"!{key}"
            )
        )
    return ",".join(parts)
