"""A pool's workers over HTTP: desired and current replicas, limits, reasons; and the pool's pause."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from agentpool_core.demand_documents import demand_document
from agentpool_core.errors import InvalidJobError
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admitted
from agentpool_gateway.http.bodies import json_body

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}", tags=["scaling"])


@router.get("/scaling", responses=openapi.SCALING)
async def scaling(admission: Admitted) -> JSONResponse:
    """Return demand, desired, current and ready replicas, their limit, and the last decision in words."""
    return JSONResponse(await admission.gateway.pool_resources.scaling(admission.pool))


@router.get("/demand", responses=openapi.DEMAND)
async def demand(admission: Admitted) -> JSONResponse:
    """Return the jobs that run or may start now, and the workers for them: a metric for other autoscalers."""
    snapshot = await admission.queue.snapshots.snapshot()
    snapshot = await admission.queue.inspector.surveyed(admission.pool, snapshot)
    settings = await admission.queue.settings_of(snapshot)
    return JSONResponse(demand_document(snapshot, settings, admission.pool))


@router.put("/paused", responses=openapi.PAUSED, openapi_extra=openapi.PAUSED_BODY)
async def pause(admission: Admitted, request: Request) -> JSONResponse:
    """Pause or resume the pool. A paused pool accepts jobs and starts none; running jobs finish."""
    body, _ = await json_body(request, admission.gateway.settings)
    paused = body.get("paused") if isinstance(body, dict) else None
    if not isinstance(paused, bool):
        raise InvalidJobError(field="paused", value=paused, problem="not a boolean", remedy='send {"paused": true}')
    await admission.gateway.pool_resources.pause(admission.pool, admission.queue.inspector, paused=paused)
    return JSONResponse({"pool": str(admission.pool), "paused": paused})
