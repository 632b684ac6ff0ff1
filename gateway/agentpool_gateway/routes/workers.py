"""A pool's workers over HTTP: their state, and the end of the log of each one's pod."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from agentpool_core.documents import worker_detail_document
from agentpool_core.kube.errors import ForbiddenError
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admitted
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.paging import MOST_NAMES, NameCursor, NamesLimit, page_by_name
from agentpool_gateway.http.problems import ProblemError

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}/workers", tags=["queue"])
MOST_LINES = 1_000  # of a log


@router.get("", responses=openapi.READ_WORKERS)
async def workers(admission: Admitted, limit: NamesLimit = MOST_NAMES, cursor: NameCursor = "") -> JsonResponse:
    """Return the workers, by name, at most `limit`: slots, lease, kinds, cordon, and the latest failure on each."""
    snapshot, details = await admission.queue.workers()
    page, following = page_by_name(details, limit, cursor, name=lambda detail: detail.worker.name)
    rows = [worker_detail_document(detail) for detail in page]
    pool = {"pool": str(admission.pool), "taken_at_ms": snapshot.taken_at_ms, "plain": snapshot.is_plain}
    return JsonResponse(pool | {"workers": rows, "cursor": following})


@router.get("/{name}/log", responses=openapi.WORKER_LOG)
async def worker_log(
    admission: Admitted, name: str, lines: Annotated[int, Query(ge=1, le=MOST_LINES)] = 200
) -> JsonResponse:
    """Return the newest lines of the log of a worker's pod, where the gateway may read it."""
    pool, why = admission.pool, "no such pod of the pool has started, or the gateway has no cluster"
    try:
        text = await admission.gateway.pool_resources.worker_log(pool, name, lines=lines)
    except ForbiddenError:
        text = None
        why = "the gateway may not read logs or the owners of pods; gateway.workerLogs of the chart permits both"
    if text is None:
        remedy = f"kubectl logs --namespace {pool.namespace} POD, with an account of your own"
        raise ProblemError(HTTPStatus.NOT_FOUND, "no-log", f"no log of worker {name[:100]!r}: {why}", remedy=remedy)
    return JsonResponse({"worker": name, "log": text})
