"""The list of pools, the console's first page. `pages` serves the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request

from agentpool_core.jobs import PoolRef
from agentpool_core.process.cancellation import results_of
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Gateway, Known, gateway_of
from agentpool_gateway.access.authority import Caller, Verb
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.paging import MOST_NAMES, NameCursor, NamesLimit, page_by_name
from agentpool_gateway.http.problems import ProblemError

router = APIRouter(tags=["pools"])


@router.get("/v1/pools", responses=openapi.READ_POOLS)
async def pools(
    request: Request,
    caller: Known,
    namespace: Annotated[Sequence[str], Query()] = (),
    limit: NamesLimit = MOST_NAMES,
    cursor: NameCursor = "",
) -> JsonResponse:
    """List the pools that the caller may read, as namespace/name, sorted by name, at most `limit`."""
    gateway = gateway_of(request)
    found = await gateway.queues.names()
    wanted = [pool for pool in found if str(pool) > cursor and (not namespace or pool.namespace in namespace)]
    page, following = page_by_name(map(str, await _readable(gateway, caller, wanted)), limit, cursor)
    return JsonResponse({"pools": page, "cursor": following})


@router.get("/v1/pools:overview", responses=openapi.READ_OVERVIEW)
async def overview(request: Request, caller: Known) -> JsonResponse:
    """Return the main figures and the troubles of the pools that the caller may read, those in trouble first.

    Figures are shared by all callers for some seconds.
    """
    gateway = gateway_of(request)
    rows, age_s = await gateway.overview.rows()
    may = set(await _readable(gateway, caller, [PoolRef.parse(row["pool"]) for row in rows]))
    shown = [row for row in rows if PoolRef.parse(row["pool"]) in may]
    return JsonResponse({"pools": shown, "age_ms": round(age_s * 1000)})


async def _readable(gateway: Gateway, caller: Caller, pools: Sequence[PoolRef]) -> list[PoolRef]:
    allowed = await results_of(_may_read(gateway, caller, pool) for pool in pools)
    return [pool for pool, may in zip(pools, allowed, strict=True) if may]


async def _may_read(gateway: Gateway, caller: Caller, pool: PoolRef) -> bool:
    try:
        await gateway.authority.check(caller, Verb.READ, pool)
    except ProblemError:
        return False
    return True
