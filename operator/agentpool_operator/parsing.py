"""From an AgentPool as the API serves it to the typed spec.

What CEL and the schema refuse never arrives here; an object stored under an older schema may. `registry`
calls this.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from agentpool.errors import SpecError
from agentpool.spec import AgentPoolSpec


def spec_of(resource: dict[str, Any]) -> AgentPoolSpec:
    """The typed spec. Raises SpecError naming the first field that cannot be served."""
    try:
        return AgentPoolSpec.model_validate(resource.get("spec") or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in ("spec", *first["loc"]))
        raise SpecError(
            field=path,
            value=first.get("input"),
            problem=first["msg"],
            remedy=f"see `kubectl explain ap.{path}` and apply it again",
        ) from error
