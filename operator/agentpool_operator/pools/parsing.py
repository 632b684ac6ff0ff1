"""Parse an AgentPool from the API into the typed spec.

Resources refused by CEL and the schema never arrive here; a resource stored under an older schema may. Fields of a
newer schema arrive too, with their defaults, in every pool: the resource definition is upgraded before the operator,
and stays when the operator is rolled back. Unknown fields are ignored. `registry` calls this, and reports the ignored
fields. Pure.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agentpool_core.errors import SpecError
from agentpool_core.spec import AgentPoolSpec
from agentpool_core.spec.pool import MAX_NAME_LENGTH
from agentpool_operator.pools.nesting import MAX_SPEC_DEPTH, TOO_DEEP

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = dict[str, Any]
REDIS = ("queue", "redis")  # path of the Redis address in a spec
UNKNOWN = "extra_forbidden"  # pydantic's name for a field that the model lacks


def spec_of(resource: Json) -> tuple[AgentPoolSpec, frozenset[str]]:
    """Return the typed spec, and the ignored fields, such as `spec.routes.later`.

    Raises SpecError naming the first field that cannot be served.
    """
    given = resource.get("spec") or {}
    if TOO_DEEP in given:
        raise SpecError(
            field=f"spec.{given[TOO_DEEP]}",
            value=None,
            problem=f"nested more than {MAX_SPEC_DEPTH} levels deep, deeper than any pod template",
            remedy="remove the nested part",
        )
    try:
        spec = AgentPoolSpec.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        unknown = [found["loc"] for found in problems if found["type"] == UNKNOWN]
        if unknown:
            spec, more = spec_of({**resource, "spec": _without(given, unknown)})
            return spec, more | {_path(step for step in place if isinstance(step, str)) for place in unknown}
        first = problems[0]
        path = _path(first["loc"])
        raise SpecError(
            field=path,
            value=None if first["loc"][:2] == REDIS else first.get("input"),  # a URL may hold a password
            problem=first["msg"],
            remedy=f"see `kubectl explain ap.{path}` and apply it again",
        ) from error
    _check_device_container(spec)
    return spec, frozenset()


def _check_device_container(spec: AgentPoolSpec) -> None:
    """Check a reference that the schema cannot follow. Raises SpecError."""
    wanted = None if spec.gpu is None else spec.gpu.container
    containers = (spec.worker.template.get("spec") or {}).get("containers") or []
    if wanted not in {None, "worker", *(container.get("name") for container in containers)}:
        raise SpecError(
            field="spec.gpu.container",
            value=wanted,
            problem="no container of that name in spec.worker.template",
            remedy="name one of the containers, or remove the field",
        )


def check_name(name: str) -> None:
    """Check the rule of the schema again: the name becomes a label's value and the Deployment's name.

    Raises SpecError.
    """
    if len(name) > MAX_NAME_LENGTH or "." in name:
        raise SpecError(
            field="metadata.name",
            value=name,
            problem=f"not a DNS label of at most {MAX_NAME_LENGTH} characters",
            remedy="create the AgentPool again with a shorter name without dots",
        )


def _without(given: Json, unknown: list[tuple[int | str, ...]]) -> Json:
    """Return the spec without these fields."""
    kept = copy.deepcopy(given)
    for place in unknown:
        part: Any = kept
        for step in place[:-1]:
            part = part[step]
        del part[place[-1]]
    return kept


def _path(place: Iterable[int | str]) -> str:
    return ".".join(str(step) for step in ("spec", *place))
