"""The CustomResourceDefinition, generated from the resource's types.

`custom_resource_definition` returns plain data; `to_yaml` text. The JSON schema of pydantic is converted to a
structural schema: references are expanded, optional fields lose their null, nested objects get `{}` as default so that
their own defaults apply, and each description ends with the default. Source of the rules for structural schemas: the
Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions". `make generate` writes the file
`crds/agentpools.yaml`.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from agentpool_core.spec.base import Rule, SpecModel
from agentpool_core.spec.pool import GROUP, KIND, MAX_NAME_LENGTH, PLURAL, VERSION, AgentPoolSpec
from agentpool_core.spec.status import AgentPoolStatus

Schema = dict[str, Any]

NAME_RULE = Rule(
    holds=f"self.metadata.name.size() <= {MAX_NAME_LENGTH} && !self.metadata.name.contains('.')",
    message=(
        f"metadata.name must be a DNS label of at most {MAX_NAME_LENGTH} characters, because it names the "
        "Deployment and labels the pods; choose a shorter name without dots"
    ),
)

PRINTER_COLUMNS: list[dict[str, Any]] = [
    {"name": "Ready", "type": "integer", "jsonPath": ".status.readyReplicas", "description": "Workers that are ready."},
    {
        "name": "Desired",
        "type": "integer",
        "jsonPath": ".status.desiredReplicas",
        "description": "Workers that the operator has requested.",
    },
    {"name": "Queued", "type": "integer", "jsonPath": ".status.queued", "description": "Jobs that wait for a slot."},
    {"name": "Running", "type": "integer", "jsonPath": ".status.running", "description": "Jobs that run now."},
    {
        "name": "Oldest",
        "type": "integer",
        "jsonPath": ".status.oldestWaitSeconds",
        "description": "Wait of the oldest ready job, in seconds.",
    },
    {"name": "GPUs", "type": "integer", "jsonPath": ".status.gpus.held", "description": "GPUs held by the workers."},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {
        "name": "Status",
        "type": "string",
        "priority": 1,
        "jsonPath": '.status.conditions[?(@.type=="Ready")].reason',
        "description": "Reason of the condition Ready.",
    },
    {
        "name": "Decision",
        "type": "string",
        "priority": 1,
        "jsonPath": ".status.lastDecision.reason",
        "description": "Why the number of workers last changed.",
    },
]


def custom_resource_definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition of AgentPool as plain data."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "agentpool"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": "agentpool",
                "shortNames": ["ap"],
                "categories": ["all"],
            },
            "versions": [_version()],
        },
    }


def to_yaml(data: dict[str, Any]) -> str:
    """Return the data as YAML, in the order given."""
    return yaml.safe_dump(data, sort_keys=False, width=100, allow_unicode=True)


def structural(part: type[SpecModel]) -> Schema:
    """Return the structural schema of a part of the resource."""
    drawn = part.model_json_schema(mode="validation", by_alias=True)
    return _structural(drawn, drawn.get("$defs", {}))


def _version() -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": PRINTER_COLUMNS,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "schema": {"openAPIV3Schema": _root()},
    }


def _root() -> Schema:
    return {
        "type": "object",
        "description": "A queue for AI agents, a bounded number of slots, and just enough workers.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"Always {KIND}."},
            "metadata": {"type": "object"},
            "spec": structural(AgentPoolSpec),
            "status": _without_defaults(structural(AgentPoolStatus)),
        },
        "x-kubernetes-validations": [NAME_RULE.to_schema()],
    }


# Keywords that Kubernetes does not accept, or that come from elsewhere.
_DROPPED = frozenset(
    {"$defs", "title", "additionalProperties", "default", "$ref", "anyOf", "const", "properties", "items"}
)


def _structural(drawn: Schema, defs: Schema, *, unsettable: bool = False) -> Schema:
    """Convert a node of the schema, with references expanded; its own keywords override the referenced keywords."""
    if "$ref" in drawn:
        drawn = {**defs[drawn["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in drawn.items() if k != "$ref"}}
    if "anyOf" in drawn:  # pydantic's form of "or unset"
        (chosen,) = [option for option in drawn["anyOf"] if option != {"type": "null"}]
        outer = {k: v for k, v in drawn.items() if k != "anyOf"}
        return _structural({**chosen, **outer}, defs, unsettable=True)
    schema = {k: v for k, v in drawn.items() if k not in _DROPPED}
    if schema.get("type") == "integer":
        schema["format"] = "int32"
    if "items" in drawn:
        schema["items"] = _structural(drawn["items"], defs)
    if "properties" in drawn:
        schema["properties"] = {name: _structural(p, defs) for name, p in drawn["properties"].items()}
    default = drawn.get("default")
    if default is not None:
        schema["default"] = _without_null(default)
        shown = default if isinstance(default, str) else json.dumps(schema["default"])
        schema["description"] = f"{schema['description']} Default: {shown}."
    elif not unsettable and not schema.get("required") and _has_default(schema):
        schema["default"] = {}  # makes the defaults below apply
    return _ordered(schema)


def _has_default(schema: Schema) -> bool:
    return any("default" in child for child in schema.get("properties", {}).values())


def _without_defaults(schema: Any) -> Any:
    """Return the schema without defaults: a status contains only observed values."""
    if isinstance(schema, dict):
        kept = {k: _without_defaults(v) for k, v in schema.items() if k != "default"}
        if isinstance(kept.get("description"), str):
            kept["description"] = kept["description"].split(" Default: ")[0]
        return kept
    return [_without_defaults(item) for item in schema] if isinstance(schema, list) else schema


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_null(v) for k, v in value.items() if v is not None}
    return value


def _ordered(schema: Schema) -> Schema:
    """Return a schema with its keywords in reading order."""
    first = ("description", "type", "format", "default", "enum", "required", "properties", "items")
    return {k: schema[k] for k in first if k in schema} | {k: v for k, v in schema.items() if k not in first}
