"""The kinds of job of a pool over HTTP, with the schemas of their payloads and results."""

from __future__ import annotations

from fastapi import APIRouter

from agentpool_core.kind_documents import kinds_document
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admitted
from agentpool_gateway.http.answers import JsonResponse

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}", tags=["jobs"])


@router.get("/kinds", responses=openapi.READ_KINDS)
async def read_kinds(admission: Admitted) -> JsonResponse:
    """Return the kinds that the pool's routes list, with the JSON Schemas of their payloads and results."""
    settings = await admission.queue.inspector.settings(admission.pool)
    return JsonResponse(kinds_document(settings, admission.pool))
