"""The server of the protocol, by the SDK: lists the tools that a caller may use, and runs them.

Each call is admitted again here, so the permission does not depend on how a transport has read the request. An error is
an answer of the tool with its remedy, which a model can read and act on; an unexpected one shows nothing of its cause.
`endpoint` and `stdio` connect a transport.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, TypeAlias

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)

from agentpool_core import DISTRIBUTION
from agentpool_core.errors import AgentPoolError, InvalidJobError
from agentpool_core.jobs import Json
from agentpool_core.text import encodable, frames_of, one_line, render_value
from agentpool_core.tracing import trace_in
from agentpool_gateway.access.admission import PoolRequest
from agentpool_gateway.access.authority import Verb
from agentpool_gateway.access.table import MCP_KIND_PREFIX, tool_verb
from agentpool_gateway.http.problems import problem_of
from agentpool_gateway.mcp.operations import Call, JobFailedError
from agentpool_gateway.mcp.tools import ANY_PAYLOAD, Tool, tools_of
from agentpool_gateway.mcp.waiting import Report

log = logging.getLogger(__name__)
INSTRUCTIONS = (
    "A pool runs jobs on a bounded number of workers. Each run_* tool starts a job of one kind and returns its result. "
    "A job that takes longer than the call goes on: pass its job_id to wait_for_job. A busy pool queues a job and does "
    "not refuse it, so do not start it again; submit with an idempotency_key is safe to repeat."
)
PROBLEM_CHARS = 300  # of a message on arguments, which repeats them
Context: TypeAlias = ServerRequestContext[Any, Any]
Requests: TypeAlias = Callable[[Context], PoolRequest]  # the request to a pool that a call belongs to


def build_server(request_of: Requests) -> Server[Any]:
    """Return the server; `request_of` finds pool and caller of a call."""

    async def list_tools(context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        del params  # one page: a pool has at most a few hundred kinds
        try:
            return ListToolsResult(tools=[tool.described() for tool in await _tools_for(request_of(context))])
        except AgentPoolError as error:
            raise MCPError(INTERNAL_ERROR, refusal_of(error)) from error

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        try:
            return await _call(context, request_of(context), params)
        except AgentPoolError as error:
            return _failed(refusal_of(error))
        except MCPError:
            raise
        except Exception as error:  # noqa: BLE001 - ends this call only, and shows nothing of its cause
            log.error("unexpected error in a tool call:\n%s", frames_of(error))  # noqa: TRY400 - without texts
            return _failed("the gateway failed; see its log")

    return Server(
        "agentpool",
        title="AgentPool",
        version=version(DISTRIBUTION),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=lambda _name: None,  # no argument is a header, so no list is read for each call
    )


async def _tools_for(request: PoolRequest) -> list[Tool]:
    """Return the tools of the verbs that the caller holds. Raises ProblemError (403) for a caller without any."""
    admission = await request.admit(await request.check_any())
    settings = await admission.queue.inspector.settings(request.pool)
    held = {verb for verb in Verb if await request.may(verb)}
    return [tool for tool in tools_of(settings).values() if tool.verb in held]


async def _call(context: Context, request: PoolRequest, params: CallToolRequestParams) -> CallToolResult:
    admission = await request.admit(tool_verb(params.name) or await request.check_any())
    tool = tools_of(await admission.queue.inspector.settings(request.pool)).get(params.name)
    if tool is None:
        name = one_line(params.name[:100])
        raise MCPError(INVALID_PARAMS, f"there is no tool {name!r}; tools/list names the tools of pool {request.pool}")
    arguments = params.arguments or {}
    _check(tool, arguments)
    call = Call(admission=admission, arguments=arguments, report=_report_to(context), trace=_trace_of(context))
    found = _cleaned(await tool.call(call))
    return CallToolResult(content=[TextContent(text=json.dumps(found))], structured_content=found)


def _check(tool: Tool, arguments: Mapping[str, Json]) -> None:
    """Raise InvalidJobError naming the argument that does not fit the tool's schema.

    The schema of a kind comes from the pool's owner; the producer checks it, in bounded time.
    """
    schema = ANY_PAYLOAD if tool.name.startswith(MCP_KIND_PREFIX) else tool.arguments
    error = best_match(Draft202012Validator(schema).iter_errors(arguments))
    if error is not None:
        field = ".".join(["arguments", *(str(part) for part in error.absolute_path)])
        problem = error.message.replace(repr(error.instance), render_value(error.instance))
        names = ", ".join(tool.arguments.get("properties", ()))
        remedy = f"call {tool.name} with arguments of its input schema in tools/list"
        if names:
            remedy += f": {one_line(names)[:PROBLEM_CHARS]}"
        raise InvalidJobError(field=field, value=None, problem=one_line(problem)[:PROBLEM_CHARS], remedy=remedy)


def refusal_of(error: AgentPoolError) -> str:
    """Return an error in a line with its remedy, without the address of a server."""
    if isinstance(error, JobFailedError):
        return str(error)
    _, body, _ = problem_of(error)  # logs the cause, which may name a server
    return "; ".join(filter(None, (body["detail"], body.get("remedy"))))


def _failed(words: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=encodable(words))], is_error=True)


def _report_to(context: Context) -> Report | None:
    """Return the report of a call's progress; None for a caller that wants none."""
    if not (context.meta or {}).get("progress_token"):
        return None
    count = 0

    async def report(words: str) -> None:
        nonlocal count
        count += 1
        await context.session.report_progress(count, None, encodable(words))

    return report


def _trace_of(context: Context) -> dict[str, str]:
    return trace_in(context.request.headers) if context.request is not None else {}


def _cleaned(value: Json) -> Json:
    """Return JSON with each half of a surrogate pair escaped: UTF-8 cannot write it."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {encodable(name): _cleaned(inner) for name, inner in value.items()}
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value
