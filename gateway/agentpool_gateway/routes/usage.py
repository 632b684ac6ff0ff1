"""Usage of models over HTTP: tokens and money that the jobs of a pool have used."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from agentpool_core.queue.usage_totals import COLUMNS, DEFAULT_COLUMNS, DEFAULT_DAYS, MOST_DAYS, UsageQuery
from agentpool_core.usage_documents import totals_document
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admitted
from agentpool_gateway.http.answers import JsonResponse

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}", tags=["usage"])


@router.get("/usage", responses=openapi.READ_USAGE)
async def read_usage(  # noqa: PLR0917  # FastAPI reads the parameters by name
    admission: Admitted,
    days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = DEFAULT_DAYS,
    day: date | None = None,
    tenant: str | None = None,
    kind: str | None = None,
    model: str | None = None,
    by: Annotated[list[str] | None, Query(json_schema_extra={"items": {"enum": [*COLUMNS]}})] = None,
) -> JsonResponse:
    """Return the usage of a range of days in UTC, today last; `by` divides the rows: day, tenant, kind, model."""
    columns = tuple(dict.fromkeys(by or DEFAULT_COLUMNS))
    query = UsageQuery(days=days, day=day, tenant=tenant, kind=kind, model=model, by=columns)
    totals = await admission.queue.inspector.usage(admission.pool, query)
    return JsonResponse(totals_document(totals, columns, admission.pool))
