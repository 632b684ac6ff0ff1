"""Query parameters that a route does not know are refused: a misspelt condition must not select everything.

The served description names the parameters. Routes of A2A are exempt: its specification has unknown fields ignored.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import Request

from agentpool_gateway.http.problems import ProblemError

TOLERANT = frozenset({"a2a"})  # tags of routes that ignore unknown parameters


def check_query(request: Request) -> None:
    """Raise ProblemError (422) for a parameter outside the route's description."""
    if not request.query_params:
        return
    route: Any = request.scope.get("route")
    operation = _operation(request, getattr(route, "path", ""))
    if operation is None or TOLERANT & set(operation.get("tags", ())):
        return
    known = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "unknown-parameter",
                f"there is no query parameter {name[:100]!r}",
                remedy=f"use {', '.join(known)}" if known else "leave it out; this call has no query parameters",
            )


def _operation(request: Request, template: str) -> dict[str, Any] | None:
    paths: dict[str, Any] = request.app.openapi()["paths"]
    found: dict[str, Any] | None = paths.get(template, {}).get(request.method.lower())
    return found
