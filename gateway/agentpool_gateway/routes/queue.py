"""A pool's queue over HTTP, and its dead letters: read, replay, purge."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query

from agentpool_core.documents import event_document, pool_history_document, queue_document
from agentpool_core.errors import InvalidJobError, UnknownJobError
from agentpool_core.jobs import JobId, JobState
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admitted
from agentpool_gateway.access.authority import Verb
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.problems import ProblemError
from agentpool_gateway.routes.selection import Conditions, PageSize, page_of

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}", tags=["queue"])
MOST = 1_000  # dead letters or events of a request


@router.get("/queue", responses=openapi.READ_QUEUE)
async def queue(admission: Admitted) -> JsonResponse:
    """Return depth by route and priority, running jobs, oldest wait, estimated wait and workers."""
    return JsonResponse(queue_document(await admission.queue.snapshot_with_history(), admission.pool))


@router.get("/verbs", responses=openapi.READ_VERBS)
async def verbs(admission: Admitted) -> JsonResponse:
    """Return the verbs that the caller holds in the pool, so that a page offers no refused action; and links."""
    held = [verb.value for verb in Verb if await admission.request.may(verb)]
    dashboard, pool = admission.gateway.settings.grafana_url, admission.pool
    names = urlencode({"var-namespace": pool.namespace, "var-pool": pool.name})
    link = f"{dashboard}?{names}" if dashboard else None
    return JsonResponse({"pool": str(pool), "verbs": held, "grafana_url": link})


@router.get("/events:newest", responses=openapi.NEWEST_EVENTS)
async def newest_events(admission: Admitted, limit: Annotated[int, Query(ge=1, le=MOST)] = 100) -> JsonResponse:
    """Return the newest events of the pool, newest first; the stream of events continues after the first one."""
    events = await admission.queue.inspector.newest_events(admission.pool, limit=limit)
    return JsonResponse({"pool": str(admission.pool), "events": [event_document(event) for event in events[:limit]]})


@router.get("/history", responses=openapi.POOL_HISTORY)
async def history(admission: Admitted) -> JsonResponse:
    """Return the last hour of the pool, a point each half minute: queue, totals, desired and ready workers.

    The operator records the points; none without an AgentPool. A total only grows, so that the difference of two points
    is a rate.
    """
    points = await admission.queue.history.points()
    return JsonResponse(pool_history_document(points, admission.pool))


@router.get("/dead", responses=openapi.FIND_JOBS)
async def dead(
    admission: Admitted, conditions: Conditions, limit: PageSize = 100, cursor: str | None = None
) -> JsonResponse:
    """List selected dead letters, oldest first, at most `limit`. A job's own record has its payload."""
    return await page_of(admission, replace(conditions, states=(JobState.FAILED,)), limit, cursor)


@router.post("/dead/{job_id}/replay", status_code=HTTPStatus.ACCEPTED, responses=openapi.REPLAY)
async def replay(
    admission: Admitted,
    job_id: str,
    *,
    downstream: Annotated[bool, Query()] = False,
) -> JsonResponse:
    """Put a dead letter back into the queue, with all its attempts.

    `downstream`: with all jobs that were cancelled because of it; the answer has their number.
    """
    try:
        count = await admission.queue.inspector.replay(admission.pool, JobId(job_id), downstream=downstream)
    except InvalidJobError as error:
        raise ProblemError(
            HTTPStatus.CONFLICT, "not-dead", f"job {job_id!r}: {error.problem}", remedy=error.remedy
        ) from error
    answer = {"job_id": job_id, "outcome": "queued", **({"downstream": count} if downstream else {})}
    return JsonResponse(answer, status_code=HTTPStatus.ACCEPTED)


@router.delete("/dead/{job_id}", responses=openapi.DISCARDED)
async def discard(admission: Admitted, job_id: str) -> JsonResponse:
    """Delete a dead letter for good."""
    if not await admission.queue.inspector.discard(admission.pool, [JobId(job_id)]):
        raise UnknownJobError(str(admission.pool), job_id)
    return JsonResponse({"job_id": job_id, "outcome": "deleted"})


@router.delete("/dead", responses=openapi.PURGED)
async def purge(admission: Admitted) -> JsonResponse:
    """Delete the oldest dead letters, at most a thousand; `left` counts the remaining dead letters."""
    gone = await admission.queue.inspector.discard(admission.pool, limit=MOST)
    return JsonResponse({"deleted": gone, "left": (await admission.queue.snapshots.snapshot()).dead})
