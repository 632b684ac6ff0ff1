"""Jobs over HTTP: submit, read, result, history, cancel. `selection` lists jobs, and changes many."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from agentpool_core.documents import (
    Document,
    history_document,
    job_document,
    receipt_document,
    summary_document,
)
from agentpool_core.errors import ClusterUnreachableError, InvalidJobError, QueueUnreachableError
from agentpool_core.jobs import Durability, Job, JobId, JobRequest, Json, Receipt
from agentpool_core.pending_reason import pending_reason
from agentpool_core.queue.webhook_submits import Submission
from agentpool_core.tracing import trace_in
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admission, Admitted
from agentpool_gateway.access.conflicts import check_conflicts
from agentpool_gateway.http.answers import JsonResponse, tagged
from agentpool_gateway.http.bodies import json_body
from agentpool_gateway.http.problems import ProblemError
from agentpool_gateway.routes.long_polling import job_after, wait_of
from agentpool_gateway.routes.webhooks import store_webhook, submission_from

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}/jobs", tags=["jobs"])
log = logging.getLogger(__name__)


@router.post("", status_code=HTTPStatus.ACCEPTED, responses=openapi.SUBMIT, openapi_extra=openapi.SUBMIT_BODY)
async def submit(admission: Admitted, request: Request, durability: Durability | None = None) -> JsonResponse:
    """Submit a job, or a list of jobs. `Prefer: wait=30` or `?wait=30s` waits for the end of a single job.

    With `durability` the answer comes once the jobs are on the primary's disk (`fsync`) or on a replica. Without it
    the pool's setting applies.

    Without the verb `read` the receipt comes at once, regardless of the wait.
    """
    settings = admission.gateway.settings
    wait_s = wait_of(request, settings.max_wait_s)
    if wait_s > 0 and not await admission.may_read():
        wait_s = 0.0  # results need `read`; a submit-only caller gets the receipt at once
    body, many = await json_body(request, settings, lines=True)
    if many:
        return await _submit_many(admission, request, body, durability)
    given, hook = submission_from(admission, body)
    wanted = _complete_from_headers(given, request)
    await check_conflicts(admission, [Submission(wanted, hook)])
    receipt = await admission.queue.producer.submit(wanted, durability=durability)
    if hook is not None:
        await store_webhook(admission, receipt.job_id, hook)
    admission.gateway.metrics.count_submitted(admission.pool, [receipt])
    headers = {"Location": f"{request.url.path}/{receipt.job_id}"}
    job, position = await _follow(admission, wanted, receipt, wait_s)
    if job is not None and job.state.terminal:
        return JsonResponse(receipt_document(receipt) | _result(job), headers=headers)
    document = receipt_document(receipt) | {"position": position}
    return JsonResponse(document, status_code=HTTPStatus.ACCEPTED, headers=headers)


async def _follow(
    admission: Admission, wanted: JobRequest, receipt: Receipt, wait_s: float
) -> tuple[Job | None, int | None]:
    """Return a submitted job after the wait (None: no wait), and its position.

    (None, None) if Redis or the Kubernetes API is unreachable by now: the caller still needs the receipt, because a
    repeated submit without a key would be a second job.
    """
    try:
        job = await job_after(admission, receipt.job_id, wait_s) if wait_s > 0 else None
        position, _ = await admission.queue.position(wanted.kind, wanted.priority, receipt.state)
    except (QueueUnreachableError, ClusterUnreachableError) as error:
        log.warning("job %s was submitted, and cannot be followed: %s", receipt.job_id, type(error).__name__)
        return None, None
    return job, position


async def _submit_many(
    admission: Admission, request: Request, documents: list[Json], durability: Durability | None
) -> JsonResponse:
    _check_no_key(request)
    limit = admission.gateway.settings.max_jobs
    if len(documents) > limit:
        raise ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too-many-jobs",
            f"{len(documents)} jobs in one request, more than {limit}",
            remedy="send them in several requests",
        )
    parsed = [_parse_numbered(admission, place, document) for place, document in enumerate(documents)]
    await check_conflicts(admission, parsed)
    trace = trace_in(request.headers)
    traced = [Submission(replace(job, trace=dict(job.trace) or trace), hook) for job, hook in parsed]
    with _numbered_errors():
        receipts = await admission.queue.submitter.submit_many(traced, durability=durability)
    admission.gateway.metrics.count_submitted(admission.pool, receipts)
    if any(hook for _, hook in parsed):
        admission.gateway.deliveries.wake(admission.pool)
    body = {
        "jobs": [receipt_document(receipt) for receipt in receipts],
        "accepted": len(receipts),
        "duplicates": sum(receipt.duplicate for receipt in receipts),
    }
    return JsonResponse(body, status_code=HTTPStatus.ACCEPTED)


@router.get("/{job_id}", responses=openapi.READ_JOB, openapi_extra=openapi.WAIT)
async def read(admission: Admitted, request: Request, job_id: str) -> Response:
    """Return a job's record; with `wait`, after the end or the timeout."""
    job = await job_after(admission, JobId(job_id), wait_of(request, admission.gateway.settings.max_wait_s))
    return tagged(request, JsonResponse(job_document(job, admission.pool)))


@router.get("/{job_id}/result", responses=openapi.RESULT, openapi_extra=openapi.WAIT)
async def result(admission: Admitted, request: Request, job_id: str) -> JsonResponse:
    """Return the result of a job: 200 after the end; 202 before."""
    job = await job_after(admission, JobId(job_id), wait_of(request, admission.gateway.settings.max_wait_s))
    status = HTTPStatus.OK if job.state.terminal else HTTPStatus.ACCEPTED
    return JsonResponse(_result(job), status_code=status)


@router.get("/{job_id}/history", responses=openapi.READ_HISTORY)
async def history(admission: Admitted, job_id: str) -> JsonResponse:
    """Return the history of a job, oldest first."""
    job = await admission.queue.inspector.job(admission.pool, JobId(job_id))
    return JsonResponse({"job_id": job.job_id, "history": history_document(job)})


@router.get("/{job_id}/pending-reason", responses=openapi.PENDING_REASON)
async def why_pending(admission: Admitted, job_id: str) -> JsonResponse:
    """Return the reason why a job has not started, in a sentence; null for a job that runs or has ended."""
    job = await admission.queue.inspector.job(admission.pool, JobId(job_id))
    reason = pending_reason(job, await admission.queue.snapshots.snapshot())
    return JsonResponse({"job_id": job.job_id, "state": job.state.value, "pending_reason": reason})


@router.get("/{job_id}/family", responses=openapi.READ_FAMILY)
async def family(admission: Admitted, job_id: str, limit: Annotated[int, Query(ge=1, le=1_000)] = 200) -> JsonResponse:
    """Return a job with its ancestors and descendants, at most `limit` of them.

    Ancestors are the jobs that it waits or waited for, and the job that started it. Descendants are the jobs that it
    has started, and, until it ends, the jobs that wait for it.
    """
    found = await admission.queue.families.read(JobId(job_id), limit=limit)
    rows = [summary_document(each.job, admission.pool) | {"generation": each.generation} for each in found.relatives]
    return JsonResponse({"job_id": job_id, "jobs": rows, "complete": found.complete})


@router.delete("/{job_id}", responses=openapi.CANCEL)
async def cancel(
    admission: Admitted,
    job_id: str,
    reason: Annotated[str, Query(max_length=200)] = "requested",
    tree: Annotated[bool, Query()] = False,  # noqa: FBT002  # a query parameter
) -> JsonResponse:
    """Cancel a job: 200 for a waiting job, 202 for a running job, 409 after the end.

    `tree`: also all jobs that the job has started; 200 also after the end of the job.
    """
    outcome = (await admission.queue.producer.cancel(JobId(job_id), reason=reason, tree=tree)).value
    if outcome == "finished" and not tree:
        raise ProblemError(
            HTTPStatus.CONFLICT, "job-ended", f"job {job_id!r} had ended before", remedy="read its result"
        )
    status = HTTPStatus.ACCEPTED if outcome == "requested" else HTTPStatus.OK
    return JsonResponse({"job_id": job_id, "outcome": outcome}, status_code=status)


@router.post(
    "/{job_id}/signals/{name}",
    status_code=HTTPStatus.ACCEPTED,
    responses=openapi.SIGNAL,
    openapi_extra=openapi.SIGNAL_BODY,
)
async def signal(admission: Admitted, request: Request, job_id: str, name: str) -> JsonResponse:
    """Send a signal to a job; the body is its value. A repeated `Idempotency-Key` changes nothing."""
    has_body = int(request.headers.get("content-length") or 0) > 0 or "transfer-encoding" in request.headers
    value = (await json_body(request, admission.gateway.settings))[0] if has_body else None
    signal_id = request.headers.get("idempotency-key")
    outcome = await admission.queue.producer.signal(JobId(job_id), name, value, signal_id=signal_id)
    document = {"job_id": job_id, "signal": name, "outcome": outcome.value}
    return JsonResponse(document, status_code=HTTPStatus.ACCEPTED)


def _complete_from_headers(wanted: JobRequest, request: Request) -> JobRequest:
    """Return the request, completed from the headers."""
    key = request.headers.get("idempotency-key")
    if key and wanted.idempotency_key and key != wanted.idempotency_key:
        raise InvalidJobError(
            field="Idempotency-Key",
            value=key,
            problem="differs from idempotency_key in the body",
            remedy="send the key once",
        )
    trace = dict(wanted.trace) or trace_in(request.headers)
    return replace(wanted, idempotency_key=wanted.idempotency_key or key, trace=trace)


def _check_no_key(request: Request) -> None:
    """Refuse a single key for many jobs, which would make the rest duplicates or conflicts."""
    if key := request.headers.get("idempotency-key"):
        raise InvalidJobError(
            field="Idempotency-Key",
            value=key,
            problem="is the key of one job, and the body is a list",
            remedy="give each job its own idempotency_key in the body",
        )


@contextlib.contextmanager
def _numbered_errors() -> Iterator[None]:
    """Name the index of the refused job in the field of an error."""
    try:
        yield
    except InvalidJobError as error:
        if error.index is not None:
            error.field = f"[{error.index}].{error.field}"
        raise


def _parse_numbered(admission: Admission, place: int, document: Json) -> Submission:
    """Return a job of a list; errors name its index."""
    try:
        return submission_from(admission, document)
    except InvalidJobError as error:
        raise InvalidJobError(
            field=f"[{place}].{error.field}", value=error.value, problem=error.problem, remedy=error.remedy
        ) from error


def _result(job: Job) -> Document:
    return {
        "job_id": job.job_id,
        "state": job.state.value,
        "result": job.result,
        "error": job.error,
        "reason": job.reason,
        "progress": job.progress,
    }
