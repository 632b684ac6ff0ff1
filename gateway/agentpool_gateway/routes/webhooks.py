"""Webhooks over HTTP: of a job, with the state of their messages; and the secrets that verify them."""

from __future__ import annotations

from fastapi import APIRouter, Request

from agentpool_core.documents import request_from
from agentpool_core.jobs import JobId, Json
from agentpool_core.queue.webhook_submits import Submission
from agentpool_core.queue.webhooks import Webhook, definition_of
from agentpool_core.webhook_documents import delivery_document, take_webhook, webhook_document, webhook_from
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admission, Admitted
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.bodies import json_body

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}", tags=["webhooks"])


@router.get("/jobs/{job_id}/webhooks", responses=openapi.READ_WEBHOOKS)
async def list_webhooks(admission: Admitted, job_id: str) -> JsonResponse:
    """List the webhooks of a job, with the latest try to deliver each message."""
    webhooks, deliveries = await admission.queue.webhooks.of_job(JobId(job_id))
    found = {"webhooks": [webhook_document(each) for each in webhooks]}
    return JsonResponse(found | {"deliveries": [delivery_document(each) for each in deliveries]})


@router.put("/jobs/{job_id}/webhooks/{name}", responses=openapi.PUT_WEBHOOK, openapi_extra=openapi.WEBHOOK_BODY)
async def put_webhook(admission: Admitted, request: Request, job_id: str, name: str) -> JsonResponse:
    """Add or replace a webhook of a job. A job that has ended already sends its message at once."""
    document, _ = await json_body(request, admission.gateway.settings)
    webhook = checked(admission, webhook_from(name, document))
    await store_webhook(admission, JobId(job_id), webhook)
    return JsonResponse(webhook_document(webhook))


@router.delete("/jobs/{job_id}/webhooks/{name}", responses=openapi.DELETED_WEBHOOK)
async def delete_webhook(admission: Admitted, job_id: str, name: str) -> JsonResponse:
    """Remove a webhook of a job; a message that was not delivered is dropped."""
    await admission.queue.webhooks.delete(JobId(job_id), name)
    return JsonResponse({"name": name, "outcome": "deleted"})


@router.post("/jobs/{job_id}/webhooks/{name}/redeliver", responses=openapi.REDELIVER)
async def redeliver_webhook(admission: Admitted, job_id: str, name: str) -> JsonResponse:
    """Send the messages of a webhook that were given up again; the tries begin again."""
    again = await admission.queue.webhooks.redeliver(JobId(job_id), name)
    admission.gateway.deliveries.wake(admission.pool)
    return JsonResponse({"name": name, "messages": again})


@router.get("/webhook-secrets", responses=openapi.READ_SECRETS)
async def webhook_secrets(admission: Admitted) -> JsonResponse:
    """Return the secrets with which a receiver verifies the webhooks of the pool, the newest first."""
    keys = admission.gateway.deliveries.keys
    return JsonResponse({"secrets": keys.secrets_of(admission.pool) if keys else []})


def submission_from(admission: Admission, document: Json) -> Submission:
    """Return the job of a submit, with its webhook. Raises InvalidJobError."""
    rest, hook = take_webhook(document)
    return Submission(request_from(rest), hook and checked(admission, hook))


async def store_webhook(admission: Admission, job_id: JobId, webhook: Webhook) -> None:
    """Store a webhook of a job; a message that is due already is sent at once. Raises UnknownJobError."""
    await admission.queue.webhooks.put(job_id, webhook)
    admission.gateway.deliveries.wake(admission.pool)


def checked(admission: Admission, webhook: Webhook) -> Webhook:
    """Return the webhook. Raises InvalidJobError for one that cannot be stored, or to which nothing is sent."""
    definition_of(webhook)  # before anything is stored
    admission.gateway.deliveries.check(webhook.url)
    return webhook
