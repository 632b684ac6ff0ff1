"""Query parameters that a route does not know are refused: a misspelt condition must not select everything.

The signature of the handler names the parameters, and `openapi_extra` those that the handler reads itself; the served
description is made of the same. Routes of A2A are exempt: its specification has unknown fields ignored.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from agentpool_gateway.http.problems import ProblemError

TOLERANT = frozenset({"a2a"})  # tags of routes that ignore unknown parameters


def check_query(request: Request) -> None:
    """Raise ProblemError (422) for a parameter outside the route's description."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    if not route.include_in_schema or TOLERANT & set(route.tags):
        return
    known = query_names(route)
    for name in request.query_params:
        if name not in known:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "unknown-parameter",
                f"there is no query parameter {name[:100]!r}",
                remedy=f"use {', '.join(known)}" if known else "leave it out; this call has no query parameters",
            )


def query_names(route: APIRoute) -> list[str]:
    """Return the names of the query parameters of a route."""
    by_hand = (route.openapi_extra or {}).get("parameters", ())
    return [*_names(route.dependant), *(each["name"] for each in by_hand if each["in"] == "query")]


def _names(dependant: Dependant) -> list[str]:
    own = [field.alias for field in dependant.query_params]
    return own + [name for each in dependant.dependencies for name in _names(each)]
