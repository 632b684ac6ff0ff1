"""The query parameters that a route accepts, beside its description."""

from __future__ import annotations

from fastapi.routing import APIRoute

from agentpool_gateway.access.authority import AllowAll
from agentpool_gateway.app import ROUTES, build
from agentpool_gateway.http.query import query_names
from agentpool_gateway.pools.locations import SingleRedis
from agentpool_gateway.settings import GatewaySettings


def test_a_route_accepts_the_query_parameters_of_its_description():
    """Each described operation names the same parameters that the check of requests accepts."""
    paths = build(GatewaySettings(), SingleRedis("redis://127.0.0.1:1/0"), AllowAll()).openapi()["paths"]
    described, accepted = {}, {}
    for route in (route for module in ROUTES for route in module.router.routes):
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods:
                parameters = paths[route.path][method.lower()].get("parameters", ())
                described[route.path, method] = {each["name"] for each in parameters if each["in"] == "query"}
                accepted[route.path, method] = set(query_names(route))
    assert accepted == described
    assert {"wait", "durability"} in accepted.values()
