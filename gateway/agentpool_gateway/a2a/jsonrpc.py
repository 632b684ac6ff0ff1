"""The JSON-RPC binding: one address for all methods of A2A 1.0 and 0.3.

The method decides the verb that the caller needs. A caller without any verb of the pool learns nothing, whatever the
body is. Errors of the call are JSON-RPC errors; errors of the request as HTTP are problem documents.
"""

from __future__ import annotations

import math
from typing import Any

from a2a.utils.errors import A2AError, InvalidRequestError, MethodNotFoundError, VersionNotSupportedError
from fastapi import APIRouter, Request
from fastapi.responses import Response
from google.protobuf.message import Message

from agentpool_core.documents import Document
from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import Json
from agentpool_gateway import openapi
from agentpool_gateway.a2a import legacy_answers, methods
from agentpool_gateway.a2a.errors import fault_of, invalid, retry_after, rpc_error
from agentpool_gateway.a2a.legacy import LEGACY
from agentpool_gateway.a2a.methods import OPERATIONS, Operation
from agentpool_gateway.a2a.server_events import stream_response
from agentpool_gateway.a2a.versions import CURRENT, LEGACY_VERSION, version_of
from agentpool_gateway.access.admission import Admission, Authenticated, PoolRequest
from agentpool_gateway.access.table import A2A_METHODS
from agentpool_gateway.http.answers import JsonResponse

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}/a2a", tags=["a2a"])


@router.post("", responses=openapi.A2A, openapi_extra=openapi.A2A_BODY)
@router.post("/", include_in_schema=False)  # clients that join the card's URL and a path
async def rpc(pool_request: Authenticated, request: Request) -> Response:
    """Answer a JSON-RPC call; the required verb depends on the method."""
    identity: Json = None
    try:
        call = await pool_request.read_message(request)
        identity = _identity(call)
        admission, name = await _admit(pool_request, call)
        return await _answer(admission, request, name, call)
    except (A2AError, AgentPoolError) as error:
        fault = fault_of(error)
        body = {"jsonrpc": "2.0", "id": identity, "error": rpc_error(fault)}
        return JsonResponse(body, headers=retry_after(fault))


def _identity(call: Json) -> Json:
    """Return the id of a call, or None if it has none that JSON-RPC allows."""
    found = call.get("id") if isinstance(call, dict) else None
    return found if _is_id(found) else None


def _is_id(value: Json) -> bool:
    if isinstance(value, (int, float)):
        return not isinstance(value, bool) and math.isfinite(value)
    return value is None or isinstance(value, str)


async def _admit(pool_request: PoolRequest, call: Json) -> tuple[Admission, str]:
    """Return the admission and the method. Raises ProblemError (403), InvalidRequestError, MethodNotFoundError."""
    name = call.get("method") if isinstance(call, dict) else None
    verb = A2A_METHODS.get(name) if isinstance(name, str) else None
    if verb is not None:
        admission = await pool_request.admit(verb)
    else:
        await pool_request.check_any()
    if not isinstance(call, dict) or call.get("jsonrpc") != "2.0" or not isinstance(name, str):
        raise InvalidRequestError('not a JSON-RPC 2.0 request; send {"jsonrpc": "2.0", "id", "method", "params"}')
    if not _is_id(call.get("id")):
        raise InvalidRequestError("id: not a string, a number or null")
    if verb is None:
        raise MethodNotFoundError(f"{name[:100]!r}: no such method; use {', '.join(OPERATIONS)}")
    return admission, name


async def _answer(admission: Admission, request: Request, name: str, call: dict[str, Any]) -> Response:
    version = version_of(request, CURRENT, LEGACY_VERSION)
    if not isinstance(call.get("params", {}), dict):
        raise invalid("params", "not an object")
    old = version == LEGACY_VERSION
    operation, params = _legacy(name, call) if old else _current(name, call)
    document = legacy_answers.answer_of if old else methods.answer_of
    envelope: Document = {"jsonrpc": "2.0", "id": _identity(call)}
    found = await operation.call(admission, params)
    if not operation.streams:
        return JsonResponse(envelope | {"result": document(found)})
    return await stream_response(
        admission,
        found,
        result=lambda update: envelope | {"result": document(update)},
        refused=lambda error: envelope | {"error": rpc_error(error)},
    )


def _current(name: str, call: dict[str, Any]) -> tuple[Operation, Message]:
    operation = OPERATIONS.get(name)
    if operation is None:
        raise _of_version(name, LEGACY_VERSION, said=CURRENT)
    return operation, operation.params(call.get("params", {}))


def _legacy(name: str, call: dict[str, Any]) -> tuple[Operation, Message]:
    method = LEGACY.get(name)
    if method is None:
        raise _of_version(name, CURRENT, said=LEGACY_VERSION)
    return method.operation, method.params(call)


def _of_version(name: str, version: str, *, said: str) -> VersionNotSupportedError:
    return VersionNotSupportedError(
        f"{name} is a method of A2A {version}, and the request speaks {said}; send the header A2A-Version: {version}"
    )
