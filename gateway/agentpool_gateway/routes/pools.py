"""The list of pools, the console's first page. `pages` serves the console."""

from __future__ import annotations

from fastapi import APIRouter, Request

from agentpool_core.jobs import PoolRef
from agentpool_core.process.cancellation import results_of
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Gateway, Known, gateway_of
from agentpool_gateway.access.authority import Caller, Verb
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.problems import ProblemError

router = APIRouter(tags=["pools"])


@router.get("/v1/pools", responses=openapi.READ_POOLS)
async def pools(request: Request, caller: Known) -> JsonResponse:
    """List the pools that the caller may read, as namespace/name."""
    gateway = gateway_of(request)
    found = await gateway.queues.names()
    allowed = await results_of(_may_read(gateway, caller, pool) for pool in found)
    return JsonResponse({"pools": [str(pool) for pool, may in zip(found, allowed, strict=True) if may]})


async def _may_read(gateway: Gateway, caller: Caller, pool: PoolRef) -> bool:
    try:
        await gateway.authority.check(caller, Verb.READ, pool)
    except ProblemError:
        return False
    return True
