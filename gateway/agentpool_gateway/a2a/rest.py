"""The HTTP+JSON binding of A2A 1.0: the same operations, each at an address of its own."""

from __future__ import annotations

from typing import Any

from a2a.utils.constants import A2A_JSON_MEDIA_TYPE
from a2a.utils.errors import A2AError
from a2a.utils.proto_utils import parse_params
from fastapi import APIRouter, Request
from fastapi.responses import Response
from google.protobuf.json_format import ParseError
from google.protobuf.message import Message

from agentpool_core.errors import AgentPoolError
from agentpool_gateway import openapi
from agentpool_gateway.a2a.errors import fault_of, invalid, rest_error, retry_after
from agentpool_gateway.a2a.methods import OPERATIONS, Operation, answer_of
from agentpool_gateway.a2a.server_events import stream_response
from agentpool_gateway.a2a.values import document_of
from agentpool_gateway.a2a.versions import CURRENT, version_of
from agentpool_gateway.access.admission import Admission, Admitted
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.bodies import JSON_TYPE, json_body

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}/a2a", tags=["a2a"])
_TASK = "/tasks/{job_id}"
_CONFIGS = f"{_TASK}/pushNotificationConfigs"
_BODIES = (JSON_TYPE, A2A_JSON_MEDIA_TYPE)


@router.post("/message:send", responses=openapi.A2A_REST, openapi_extra=openapi.A2A_MESSAGE)
async def send(admission: Admitted, request: Request) -> Response:
    """Send a message, and wait for the end of its task unless `returnImmediately` is set."""
    return await _answer(admission, request, "SendMessage")


@router.post("/message:stream", responses=openapi.A2A_STREAM, openapi_extra=openapi.A2A_MESSAGE)
async def stream(admission: Admitted, request: Request) -> Response:
    """Send a message, and stream its task."""
    return await _answer(admission, request, "SendStreamingMessage")


@router.get("/tasks", responses=openapi.A2A_REST, openapi_extra=openapi.A2A_LIST)
async def tasks(admission: Admitted, request: Request) -> Response:
    """Return the tasks, newest change first."""
    return await _answer(admission, request, "ListTasks")


@router.post(f"{_TASK}:cancel", responses=openapi.A2A_REST, openapi_extra=openapi.A2A_REST_CALL)
async def cancel(admission: Admitted, request: Request, job_id: str) -> Response:
    """Cancel a task."""
    return await _answer(admission, request, "CancelTask", id=job_id)


@router.get(f"{_TASK}:subscribe", responses=openapi.A2A_STREAM, operation_id="a2a_resubscribe")
@router.post(f"{_TASK}:subscribe", responses=openapi.A2A_STREAM, openapi_extra=openapi.A2A_REST_CALL)
async def subscribe(admission: Admitted, request: Request, job_id: str) -> Response:
    """Stream a task that has not ended."""
    return await _answer(admission, request, "SubscribeToTask", id=job_id)


@router.get(_TASK, responses=openapi.A2A_REST, openapi_extra=openapi.A2A_GET)
async def task(admission: Admitted, request: Request, job_id: str) -> Response:
    """Return a task."""
    return await _answer(admission, request, "GetTask", id=job_id)


@router.post(_CONFIGS, responses=openapi.A2A_CONFIG, openapi_extra=openapi.A2A_CONFIG_BODY)
async def create_config(admission: Admitted, request: Request, job_id: str) -> Response:
    """Store a configuration of push notifications with a task."""
    return await _answer(admission, request, "CreateTaskPushNotificationConfig", taskId=job_id)


@router.get(_CONFIGS, responses=openapi.A2A_REST, openapi_extra=openapi.A2A_REST_CALL)
async def list_configs(admission: Admitted, request: Request, job_id: str) -> Response:
    """Return the configurations of push notifications of a task."""
    return await _answer(admission, request, "ListTaskPushNotificationConfigs", taskId=job_id)


@router.get(f"{_CONFIGS}/{{config_id}}", responses=openapi.A2A_REST, openapi_extra=openapi.A2A_REST_CALL)
async def config(admission: Admitted, request: Request, job_id: str, config_id: str) -> Response:
    """Return a configuration of push notifications."""
    return await _answer(admission, request, "GetTaskPushNotificationConfig", taskId=job_id, id=config_id)


@router.delete(f"{_CONFIGS}/{{config_id}}", responses=openapi.A2A_CONFIG_DELETED, openapi_extra=openapi.A2A_REST_CALL)
async def delete_config(admission: Admitted, request: Request, job_id: str, config_id: str) -> Response:
    """Delete a configuration of push notifications."""
    return await _answer(admission, request, "DeleteTaskPushNotificationConfig", taskId=job_id, id=config_id)


@router.get("/extendedAgentCard", responses=openapi.A2A_REST, openapi_extra=openapi.A2A_REST_CALL)
async def extended_card(admission: Admitted, request: Request) -> Response:
    """Return the card with limits and options."""
    return await _answer(admission, request, "GetExtendedAgentCard")


async def _answer(admission: Admission, request: Request, name: str, **path: str) -> Response:
    operation = OPERATIONS[name]
    try:
        version_of(request, CURRENT)
        found = await operation.call(admission, await _params(admission, request, operation, path))
    except (A2AError, AgentPoolError) as error:
        fault = fault_of(error)
        status, body = rest_error(fault)
        headers = retry_after(fault)
        return JsonResponse(body, status_code=status, media_type=_media_type(request), headers=headers)
    if operation.streams:
        return await stream_response(admission, found, result=document_of, refused=lambda error: rest_error(error)[1])
    return JsonResponse(answer_of(found), media_type=_media_type(request))


def _media_type(request: Request) -> str:
    """Return the protocol's own media type to clients that use it, and plain JSON to others."""
    used = f"{request.headers.get('accept', '')} {request.headers.get('content-type', '')}"
    return A2A_JSON_MEDIA_TYPE if A2A_JSON_MEDIA_TYPE in used else JSON_TYPE


async def _params(admission: Admission, request: Request, operation: Operation, path: dict[str, str]) -> Message:
    """Return the request of an operation: its body, or its query; names in the path go before both."""
    if request.method != "POST":
        return operation.params(_query(request, operation) | path)
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    body: Any = (await json_body(request, admission.gateway.settings, kinds=_BODIES))[0] if has_body else {}
    if not isinstance(body, dict):
        raise invalid("the body", "not an object")
    return operation.params(body | path)


def _query(request: Request, operation: Operation) -> dict[str, Any]:
    found = operation.request()
    try:
        parse_params(request.query_params, found)
    except (ParseError, ValueError) as error:
        raise invalid("the query", str(error)[:200]) from error
    return document_of(found)
