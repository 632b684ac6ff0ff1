"""The endpoint of a pool for MCP clients: streamable HTTP, without sessions.

A request is complete in itself, so a client goes on with any replica and after any restart. The body is read and
judged here as everywhere at the gateway (type, size, time, JSON), and the tool that it names decides the verb; the SDK
then gets the same bytes. A refusal is a JSON-RPC error with the status of HTTP, because clients show its text.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR
from starlette.types import Message, Receive, Scope, Send

from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import Json
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import Authenticated, PoolRequest
from agentpool_gateway.access.table import tool_verb
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.problems import ProblemError, problem_of
from agentpool_gateway.mcp.server import Context, build_server, refusal_of
from agentpool_gateway.settings import GatewaySettings

router = APIRouter(prefix="/v1/namespaces/{namespace}/pools/{pool}", tags=["mcp"])


@asynccontextmanager
async def serve_mcp(app: FastAPI, settings: GatewaySettings) -> AsyncIterator[None]:
    """Run the SDK's transport for the requests of `app`, while the block runs."""
    manager = StreamableHTTPSessionManager(
        build_server(_request_of), stateless=True, max_request_body_size=settings.max_body_bytes
    )
    async with manager.run():
        app.state.mcp = manager
        yield


@router.post("/mcp", responses=openapi.MCP, openapi_extra=openapi.MCP_BODY)
async def mcp(pool_request: Authenticated, request: Request) -> Response:
    """Answer a message of the Model Context Protocol; the required verb depends on the tool that it calls."""
    call: Json = None
    try:
        call = await pool_request.read_message(request)
        await _admit(pool_request, call)
    except AgentPoolError as error:
        return _refused(error, call)
    return _ByTheSdk(request.app.state.mcp, json.dumps(call).encode("ascii"))


def _check_envelope(call: Json) -> None:
    """Raise ProblemError for a body that is not one request or notification; the SDK would drop some of them."""
    if isinstance(call, dict) and call.get("jsonrpc") == "2.0" and isinstance(call.get("method"), str):
        identity = call.get("id", "")
        if isinstance(identity, (str, int)) and not isinstance(identity, bool):
            return
    raise ProblemError(
        HTTPStatus.BAD_REQUEST,
        "bad-message",
        "the body is not a single JSON-RPC request or notification",
        remedy='send {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}; an id is a text or a whole number',
    )


async def _admit(pool_request: PoolRequest, call: Json) -> None:
    """Raise ProblemError: 403 for a caller without the verb of the tool, or without any; 400 for no message."""
    params = call.get("params") if isinstance(call, dict) and call.get("method") == "tools/call" else None
    name = params.get("name") if isinstance(params, dict) else None
    verb = tool_verb(name) if isinstance(name, str) else None
    await pool_request.admit(verb or await pool_request.check_any())
    _check_envelope(call)


def _refused(error: AgentPoolError, call: Json) -> JsonResponse:
    status, body, headers = problem_of(error, executed=False)
    code = INVALID_REQUEST if status < HTTPStatus.INTERNAL_SERVER_ERROR else INTERNAL_ERROR
    if isinstance(error, ProblemError) and error.name == "malformed-json":
        code = PARSE_ERROR
    found = call.get("id") if isinstance(call, dict) else None
    identity = found if isinstance(found, (str, int)) and not isinstance(found, bool) else None
    answer = {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": refusal_of(error), "data": body}}
    return JsonResponse(answer, status_code=status, headers=headers)


def _request_of(context: Context) -> PoolRequest:
    request: Any = context.request
    return cast("PoolRequest", request.state.pool_request)


class _ByTheSdk(Response):
    """The SDK's answer to a message that was read before."""

    def __init__(self, manager: StreamableHTTPSessionManager, message: bytes) -> None:
        self._manager = manager
        self._message = message
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the SDK answer."""
        unread: list[Message] = [{"type": "http.request", "body": self._message, "more_body": False}]

        async def receive_again() -> Message:
            return unread.pop() if unread else await receive()

        await self._manager.handle_request(scope, receive_again, send)
