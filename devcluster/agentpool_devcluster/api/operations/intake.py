"""Admit an object from a request: identity, unknown fields, defaults, validation.

The result may be stored, in the storage version. `operations.writes` takes over.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from agentpool_devcluster.api.errors import Cause, StatusError, bad_request, invalid
from agentpool_devcluster.api.kinds.names import metadata_problems
from agentpool_devcluster.api.kinds.strategies import strategy_of
from agentpool_devcluster.api.objects import Json, clone, name_of
from agentpool_devcluster.api.operations.cluster import WriteOptions
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.schema.defaulting import apply_defaults, normalise
from agentpool_devcluster.api.schema.pruning import prune
from agentpool_devcluster.api.schema.rules import check_rules
from agentpool_devcluster.api.schema.validation import validate

_TYPE_PROBLEM = "FieldValueTypeInvalid"


def check_identity(resource: Resource, body: Any, namespace: str, name: str = "") -> Json:
    """Return the body with kind, name and namespace settled. Raises a 400 refusal where they disagree."""
    if not isinstance(body, dict):
        raise bad_request(f"expected a {resource.kind} object, got {type(body).__name__}")
    for field, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        given = body.setdefault(field, expected)
        if given != expected:
            what = "API version" if field == "apiVersion" else "kind"
            raise bad_request(f"the {what} in the data ({given}) does not match the expected {what} ({expected})")
    metadata = body.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    if resource.namespaced:
        given = metadata.setdefault("namespace", namespace)
        if given != namespace:
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request "
                f"({given} is not {namespace})"
            )
    else:
        metadata.pop("namespace", None)
    if name and metadata.setdefault("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    return body


def clean(resource: Resource, body: Json, options: WriteOptions) -> tuple[str, ...]:
    """Remove unknown fields in place; return warnings. Raises a 400 refusal under strict validation."""
    schema = resource.schema()
    if not resource.is_custom:
        normalise(body, schema)
    unknown = prune(body, schema)
    problems = [f'unknown field "{path}"' for path in unknown]
    problems += [f'duplicate field "{path}"' for path in options.duplicates]
    if not problems or options.validation == "Ignore":
        return ()
    if options.validation == "Strict":
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"strict decoding error: {', '.join(problems)}"
        )
    return tuple(problems)


def clean_configuration(resource: Resource, config: Json, options: WriteOptions) -> tuple[str, ...]:
    """Check an applied configuration against its kind; return warnings. Raises a 500 for a mismatch.

    Kubernetes answers the same. Independent of the requested validation: the owner of an unknown field cannot be
    recorded (kubernetes/kubernetes#139253).
    """
    schema = resource.schema()
    whole = clone(config)
    misfits = [f".{path}: field not declared in schema" for path in prune(whole, schema)]
    apply_defaults(whole, schema)  # a null is no value of the wrong type
    misfits += [f".{c.field}: {c.message}" for c in validate(whole, schema) if c.reason == _TYPE_PROBLEM]
    if not misfits:
        return clean(resource, config, options)
    group_version = resource.api_version if "/" in resource.api_version else f"/{resource.api_version}"
    subject = f"{config['metadata'].get('namespace', '')}/{name_of(config)}; {group_version}, Kind={resource.kind}"
    problems = misfits[0] if len(misfits) == 1 else "errors:\n" + "\n".join(f"  {misfit}" for misfit in misfits)
    raise StatusError(
        HTTPStatus.INTERNAL_SERVER_ERROR, "", f"failed to create typed patch object ({subject}): {problems}"
    )


def complete(resource: Resource, body: Json) -> None:
    """Fill in defaults, in place. Raises a 400 refusal if a built-in object has values of the wrong type."""
    schema = resource.schema()
    if not resource.is_custom:
        for cause in validate(body, schema):
            if cause.reason == _TYPE_PROBLEM:
                raise bad_request(
                    f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                    f"{cause.field}: {cause.message}"
                )
    apply_defaults(body, schema)
    strategy_of(resource).default(body)


def check(resource: Resource, body: Json, old: Json | None) -> None:
    """Raise the 422 refusal that lists everything wrong with an object."""
    causes: list[Cause] = list(metadata_problems(resource, body))
    if not any(cause.field == "metadata.name" for cause in causes):
        causes += _problems(resource, body, old)
    if causes:
        raise invalid(resource.invalid_subject(name_of(body)), _distinct(causes))


def _problems(resource: Resource, body: Json, old: Json | None) -> list[Cause]:
    schema = resource.schema()
    own = list(strategy_of(resource).problems(body, old))
    if not resource.is_custom:
        return own
    found = list(validate(body, schema))
    if not found:
        found = list(check_rules(body, schema, old) if old is not None else check_rules(body, schema))
    return own + found


def _distinct(causes: Sequence[Cause]) -> list[Cause]:
    return list(dict.fromkeys(causes))
