"""From an AgentPool as the API serves it to the typed spec.

What CEL and the schema refuse never arrives here; an object stored under an older schema may. A field that only a newer
schema has arrives too, with its default, in every pool: the resource definition is upgraded before the operator, and
stays when the operator is rolled back. What this operator does not know it leaves alone. `registry` calls this.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

from pydantic import ValidationError

from agentpool.errors import SpecError
from agentpool.spec import AgentPoolSpec

Json = dict[str, Any]
UNKNOWN = "extra_forbidden"  # pydantic's word for a field that the model lacks
_told: set[str] = set()  # fields that were told to be unknown
log = logging.getLogger(__name__)


def spec_of(resource: Json) -> AgentPoolSpec:
    """The typed spec. Raises SpecError naming the first field that cannot be served."""
    given = resource.get("spec") or {}
    try:
        return AgentPoolSpec.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        unknown = [found["loc"] for found in problems if found["type"] == UNKNOWN]
        if unknown:
            return spec_of({**resource, "spec": _without(given, unknown)})
        first = problems[0]
        path = _path(first["loc"])
        raise SpecError(
            field=path,
            value=first.get("input"),
            problem=first["msg"],
            remedy=f"see `kubectl explain ap.{path}` and apply it again",
        ) from error


def _without(given: Json, unknown: list[tuple[int | str, ...]]) -> Json:
    """The spec without these fields, each told once."""
    kept = copy.deepcopy(given)
    for place in unknown:
        part: Any = kept
        for step in place[:-1]:
            part = part[step]
        del part[place[-1]]
        path = _path(place)
        if path not in _told:
            _told.add(path)
            log.warning("%s is not known to this operator and is left alone; the CRD is newer than the operator", path)
    return kept


def _path(place: tuple[int | str, ...]) -> str:
    return ".".join(str(step) for step in ("spec", *place))
