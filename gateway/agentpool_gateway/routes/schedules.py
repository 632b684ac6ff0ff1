"""Schedules over HTTP: list, put, delete, pause."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from agentpool_core.documents import schedule_document, schedule_from
from agentpool_core.errors import InvalidJobError
from agentpool_core.queue.schedules import Schedules
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admission, Admitted
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.bodies import json_body
from agentpool_gateway.http.paging import MOST_NAMES, NameCursor, NamesLimit, page_by_name

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}/schedules", tags=["schedules"])


@router.get("", responses=openapi.READ_SCHEDULES)
async def list_schedules(admission: Admitted, limit: NamesLimit = MOST_NAMES, cursor: NameCursor = "") -> JsonResponse:
    """Schedules, by name, at most `limit`, with their next and last runs."""
    states = await _schedules(admission).list()
    page, following = page_by_name(states, limit, cursor, name=lambda state: state.schedule.name)
    return JsonResponse({"schedules": [schedule_document(state) for state in page], "cursor": following})


@router.put("/{name}", responses=openapi.CHANGE_SCHEDULE, openapi_extra=openapi.SCHEDULE_BODY)
async def put_schedule(admission: Admitted, request: Request, name: str) -> JsonResponse:
    """Create or replace a schedule that the AgentPool does not declare."""
    document, _ = await json_body(request, admission.gateway.settings)
    await _schedules(admission).put(schedule_from(name, document))
    return JsonResponse({"name": name, "outcome": "stored"})


@router.delete("/{name}", responses=openapi.CHANGE_SCHEDULE)
async def delete_schedule(admission: Admitted, name: str) -> JsonResponse:
    """Delete a schedule that the AgentPool does not declare; its jobs stay."""
    await _schedules(admission).delete(name)
    return JsonResponse({"name": name, "outcome": "deleted"})


@router.put("/{name}/paused", responses=openapi.CHANGE_SCHEDULE, openapi_extra=openapi.PAUSED_BODY)
async def pause_schedule(admission: Admitted, request: Request, name: str) -> JsonResponse:
    """Pause or resume a schedule; due times meanwhile are skipped."""
    document, _ = await json_body(request, admission.gateway.settings)
    paused: Any = document.get("paused") if isinstance(document, dict) else None
    if not isinstance(paused, bool):
        raise InvalidJobError(field="paused", value=paused, problem="not a boolean", remedy="send true or false")
    await _schedules(admission).pause(name, paused=paused)
    return JsonResponse({"name": name, "outcome": "paused" if paused else "resumed"})


def _schedules(admission: Admission) -> Schedules:
    return admission.queue.inspector.schedules(admission.pool)
