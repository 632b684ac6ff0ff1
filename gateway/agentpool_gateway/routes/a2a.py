"""Agent to agent: JSON-RPC `message/send`, `tasks/get` and `tasks/cancel` of the A2A protocol.

A message becomes a job, and the answer is a submitted task: a busy agent queues instead of refusing. The message's id
is the idempotency key, so a repeated message gets the same task. `metadata` may carry `kind`, `priority`, `ttl_ms` and
further fields of a job.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request

from agentpool_core.documents import Document, request_from
from agentpool_core.errors import AgentPoolError, InvalidJobError, UnknownJobError
from agentpool_core.jobs import Job, JobId, JobState, Json
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Admitted, Entry, Visit, Visiting
from agentpool_gateway.access.authority import Verb, forbidden
from agentpool_gateway.access.table import A2A_METHODS
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.bodies import json_body
from agentpool_gateway.http.problems import ProblemError, problem_of
from agentpool_gateway.routes.long_polling import job_after

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}/a2a", tags=["a2a"])
VERSION = "0.3.0"
DEFAULT_KIND = "message"  # kind of a job if the message names none
INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL = -32600, -32601, -32602, -32603
TASK_NOT_FOUND, TASK_NOT_CANCELABLE = -32001, -32002
QUEUE_FULL = -32050  # ours: in the range that JSON-RPC leaves to servers
_STATES = {
    JobState.SCHEDULED: "submitted",
    JobState.BLOCKED: "submitted",
    JobState.QUEUED: "submitted",
    JobState.RUNNING: "working",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "canceled",
    JobState.EXPIRED: "failed",
}


class RpcError(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        self.code = code
        self.data = data
        super().__init__(message)


@router.get("/agent-card.json", responses=openapi.READ_CARD)
async def card(entry: Admitted, request: Request) -> JsonResponse:
    """Return the agent card."""
    url = str(request.url.replace(query="")).removesuffix("/agent-card.json")
    return JsonResponse(
        {
            "protocolVersion": VERSION,
            "name": str(entry.pool),
            "description": f"The AgentPool {entry.pool}: queues when it is busy.",
            "url": url,
            "preferredTransport": "JSONRPC",
            "version": "v1",
            "capabilities": {"streaming": False, "pushNotifications": False},
            "defaultInputModes": ["application/json", "text/plain"],
            "defaultOutputModes": ["application/json"],
            "skills": [],
        }
    )


@router.post("", responses=openapi.A2A, openapi_extra=openapi.A2A_BODY)
async def rpc(visit: Visiting, request: Request) -> JsonResponse:
    """Answer a JSON-RPC call; the required verb depends on the method."""
    call: Json = None
    try:
        call, _ = await json_body(request, visit.gateway.settings)
        result = await _answer(visit, call)
    except RpcError as error:
        return _error(call, error.code, str(error), error.data)
    except UnknownJobError as error:
        return _error(call, TASK_NOT_FOUND, str(error))
    except InvalidJobError as error:
        return _error(call, INVALID_PARAMS, str(error))
    except AgentPoolError as error:
        status, body, headers = problem_of(error)
        if isinstance(error, ProblemError):
            raise
        code = QUEUE_FULL if status.value == 429 else INTERNAL  # noqa: PLR2004  # Too Many Requests
        return _error(call, code, str(body["detail"]), body, headers)
    return JsonResponse({"jsonrpc": "2.0", "id": call.get("id"), "result": result})


async def _answer(visit: Visit, call: Json) -> Document:
    method = call.get("method") if isinstance(call, dict) else None
    verb = A2A_METHODS.get(method) if isinstance(method, str) else None
    if verb is None:
        await _check_any(visit)
    entry = None if verb is None else await visit.enter(verb)
    if not isinstance(call, dict) or call.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise RpcError(INVALID_REQUEST, 'not a JSON-RPC 2.0 request; send {"jsonrpc": "2.0", "id", "method", "params"}')
    if not _is_id(call.get("id")):
        raise RpcError(INVALID_REQUEST, "id: not a string, a number or null")
    params = call.get("params")
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params: not an object")
    if entry is None:
        raise RpcError(METHOD_NOT_FOUND, f"{method[:100]!r}: no such method; use {', '.join(A2A_METHODS)}")
    return await METHODS[method](entry, params)


async def _check_any(visit: Visit) -> None:
    """Answer a call without a method only to callers that hold some verb. Raises ProblemError (403)."""
    for verb in sorted(set(A2A_METHODS.values())):
        if await visit.may(verb):
            return
    raise forbidden(visit.caller, Verb.SUBMIT, visit.pool)


async def _send(entry: Entry, params: dict[str, Any]) -> Document:
    message = _message(params)
    metadata = {**_object(params, "metadata"), **_object(message, "metadata")}
    configuration = _object(params, "configuration")
    request = request_from(
        {
            "kind": DEFAULT_KIND,
            "idempotency_key": f"a2a {message['messageId']}",
            **metadata,
            "payload": {"message": message},
        }
    )
    receipt = await entry.queue.producer.submit(request)
    if not await entry.may_read():
        return _bare_task(receipt.job_id, receipt.state)
    if configuration.get("blocking"):
        await job_after(entry, receipt.job_id, entry.gateway.settings.max_wait_s)
    return _task(await entry.queue.inspector.job(entry.pool, receipt.job_id))


async def _get(entry: Entry, params: dict[str, Any]) -> Document:
    return _task(await entry.queue.inspector.job(entry.pool, _task_id(params)))


async def _cancel(entry: Entry, params: dict[str, Any]) -> Document:
    job_id = _task_id(params)
    outcome = await entry.queue.producer.cancel(job_id)
    if outcome.value == "finished":
        raise RpcError(TASK_NOT_CANCELABLE, f"task {job_id!r} had ended before")
    job = await entry.queue.inspector.job(entry.pool, job_id)
    return _task(job) if await entry.may_read() else _bare_task(job_id, job.state)


METHODS: Mapping[str, Callable[[Entry, dict[str, Any]], Awaitable[Document]]] = {
    "message/send": _send,
    "tasks/get": _get,
    "tasks/cancel": _cancel,
}


def _message(params: dict[str, Any]) -> dict[str, Any]:
    """Return the message; its id is a text, because it becomes the idempotency key."""
    message = params.get("message")
    if isinstance(message, dict) and isinstance(message.get("parts"), list):
        identity = message.get("messageId")
        if isinstance(identity, str) and identity:
            return message
    raise RpcError(INVALID_PARAMS, "params.message: not a message with a messageId (a text) and parts")


def _object(of: dict[str, Any], name: str) -> dict[str, Any]:
    """An object that may be left out."""
    found = of.get(name) or {}
    if not isinstance(found, dict):
        raise RpcError(INVALID_PARAMS, f"{name}: not an object")
    return found


def _is_id(value: Json) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, (int, float)) and math.isfinite(value))


def _task_id(params: dict[str, Any]) -> JobId:
    job_id = params.get("id")
    if not isinstance(job_id, str) or not job_id or not job_id.isascii():
        raise RpcError(INVALID_PARAMS, "params.id: not a task id")
    return JobId(job_id)


def _bare_task(job_id: JobId, state: JobState) -> Document:
    """Return a task for callers without `read`: id and state."""
    return {"kind": "task", "id": job_id, "contextId": job_id, "status": {"state": _STATES[state]}}


def _task(job: Job) -> Document:
    """Return a job as a task; the result is its single artifact."""
    message = job.payload.get("message", {}) if isinstance(job.payload, dict) else {}
    context = message.get("contextId") if isinstance(message, dict) else None
    task: Document = {
        "kind": "task",
        "id": job.job_id,
        "contextId": context or job.job_id,
        "status": {"state": _STATES[job.state]},
        "metadata": {"state": job.state.value, "attempt": job.attempt, "progress": job.progress},
    }
    if job.state is JobState.SUCCEEDED:
        part = {"kind": "text", "text": job.result} if isinstance(job.result, str) else _data(job.result)
        task["artifacts"] = [{"artifactId": "result", "parts": [part]}]
    elif job.state.terminal:
        task["metadata"]["why"] = job.error or job.reason
    return task


def _data(result: Json) -> Document:
    """A data part must be an object."""
    return {"kind": "data", "data": result if isinstance(result, dict) else {"result": result}}


def _error(
    call: Json, code: int, message: str, data: Json = None, headers: dict[str, str] | None = None
) -> JsonResponse:
    error: Document = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    identity = call.get("id") if isinstance(call, dict) and _is_id(call.get("id")) else None
    return JsonResponse({"jsonrpc": "2.0", "id": identity, "error": error}, headers=headers)
