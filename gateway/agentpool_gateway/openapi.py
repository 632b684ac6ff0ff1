"""Parts of the API's description beyond the code: request bodies, answers by status, headers, the bearer scheme.

Data only; FastAPI includes them in `/openapi.json`, and the page at `/docs/` shows them.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from agentpool_core.jobs import POOL_PART_PATTERN
from agentpool_core.queue.codec.requests import ID_PATTERN
from agentpool_core.queue.schedule import NAME_PATTERN
from agentpool_gateway import (
    agent_schemas,
    message_descriptions,
    schedule_schemas,
    schemas,
    usage_schemas,
    view_schemas,
)
from agentpool_gateway.access import table
from agentpool_gateway.schemas import Schema

Responses = dict[int | str, dict[str, Any]]
SECURITY = {"bearer": {"type": "http", "scheme": "bearer", "description": "A token of this gateway."}}


def _json(schema: Schema, description: str, *, headers: tuple[str, ...] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": schema}}}
    if headers:
        found["headers"] = {name: {"schema": schemas.TEXT} for name in headers}
    return found


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": schemas.PROBLEM}}}


def _body(schema: Schema, *more: tuple[str, Schema]) -> dict[str, Any]:
    content = {kind: {"schema": each} for kind, each in (("application/json", schema), *more)}
    return {"requestBody": {"required": True, "content": content}}


def _parameter(place: str, name: str, **schema: Any) -> dict[str, Any]:
    beside: dict[str, Any] = {key: schema.pop(key) for key in ("description", "example") if key in schema}
    return {"name": name, "in": place, "required": False, "schema": {"type": "string", **schema}, **beside}


WAIT = {
    "parameters": [
        _parameter("header", "Prefer", example="wait=30"),
        _parameter("query", "wait", pattern="^[0-9]{1,6}(ms|s|m)?$", example="30s"),
    ]
}
RESUME = {"parameters": [_parameter("header", "Last-Event-ID", pattern=r"^[0-9]{1,16}(-[0-9]{1,16}(\.[0-9]{1,9})?)?$")]}
SUBMIT_BODY: dict[str, Any] = {
    **_body(
        {"oneOf": [schemas.SUBMIT_REQUEST, schemas.rows(schemas.SUBMIT_REQUEST)]},
        ("application/x-ndjson", {"type": "string", "description": "A job a line."}),
    ),
    "parameters": [
        _parameter(
            "header",
            "Idempotency-Key",
            pattern="^[!-~][ -~]{0,254}$",
            description="Of one job; in a list each has its own idempotency_key.",
        ),
        _parameter("header", "traceparent"),
        *WAIT["parameters"],
    ],
}
SIGNAL_BODY = {
    "requestBody": {"required": False, "content": {"application/json": {"schema": {}}}},
    "parameters": [
        _parameter(
            "header", "Idempotency-Key", pattern="^[!-~][ -~]{0,199}$", description="Id of the signal, for repeats."
        )
    ],
}
PAUSED_BODY = _body({"type": "object", "required": ["paused"], "properties": {"paused": schemas.FLAG}})
CHANGE_BODY = _body(schemas.SELECTOR)
WEBHOOK_BODY = _body(schemas.WEBHOOK_REQUEST)
SCHEDULE_BODY = _body(schedule_schemas.SCHEDULE_REQUEST)
CANCEL_BODY = _body(schemas.CANCEL_SELECTOR)
A2A_TYPE = "application/a2a+json"
_VERSION = _parameter("header", "A2A-Version", enum=["1.0", "0.3"], example="1.0")
A2A_BODY = _body(agent_schemas.a2a_call(table.A2A_METHODS)) | {"parameters": [_VERSION]}
_ONLY_1_0 = _parameter("header", "A2A-Version", enum=["1.0"], example="1.0") | {"required": True}
A2A_REST_CALL = {"parameters": [_ONLY_1_0]}
A2A_MESSAGE = _body(agent_schemas.A2A_MESSAGE, (A2A_TYPE, agent_schemas.A2A_MESSAGE)) | A2A_REST_CALL
_HISTORY = _parameter("query", "historyLength", type="integer", minimum=0, maximum=1_000)
A2A_GET = {"parameters": [_ONLY_1_0, _HISTORY]}
A2A_LIST = {
    "parameters": [
        _ONLY_1_0,
        _HISTORY,
        _parameter("query", "pageSize", type="integer", minimum=1, maximum=100),
        _parameter("query", "pageToken", description="nextPageToken of the page before."),
        _parameter("query", "contextId"),
        _parameter("query", "status", example="TASK_STATE_WORKING"),
        _parameter("query", "statusTimestampAfter", format="date-time"),
        _parameter("query", "includeArtifacts", type="boolean"),
    ]
}

_COMMON: Responses = {
    400: _problem("The request cannot be read."),
    401: _problem("No token, or an unknown token."),
    403: _problem("The caller may not."),
    404: _problem("No such pool or job."),
    422: _problem("A field cannot be used."),
    429: _problem("The queue is full (type …:queue-full), or the caller too fast (…:rate-limited); see Retry-After."),
    502: _problem("The Kubernetes API refuses the gateway (type …:cluster-refused)."),
    503: _problem("Redis (…:queue-unavailable) or the Kubernetes API (…:cluster-unavailable) failed; see Retry-After."),
}
_BODY: Responses = {
    408: _problem("The body came too slowly."),
    413: _problem("The body, or a payload, is too large."),
    415: _problem("The body has a different type."),
}
_RETIRED = _problem("The pool was deleted: its jobs can be read, new jobs are refused.")


def _read(schema: Schema, description: str) -> Responses:
    return {**_COMMON, 200: _json(schema, description)}


_UNCHANGED: Responses = {304: {"description": "The client has it, as its If-None-Match says."}}
READ_JOB: Responses = {**_read(schemas.JOB, "The job's record."), **_UNCHANGED}
FIND_JOBS = _read(schemas.FOUND, "A page of jobs, without payload, result, progress and checkpoint.")
COUNT_JOBS = _read(schemas.COUNTED, "The number of jobs.")
CHANGE_JOBS: Responses = {**_BODY, **_read(schemas.APPLIED, "The number of changed jobs; a cursor if more are left.")}
READ_WEBHOOKS = _read(schemas.WEBHOOKS, "Webhooks of the job, and the latest try of each message.")
_NO_WEBHOOK: Responses = {404: _problem("No such pool, job or webhook.")}
PUT_WEBHOOK: Responses = {**_BODY, **_read(schemas.WEBHOOK, "Stored.")}
DELETED_WEBHOOK = _read(schemas.record(name=schemas.TEXT, outcome=schemas.TEXT), "Deleted.") | _NO_WEBHOOK
REDELIVER: Responses = {**_COMMON, **_NO_WEBHOOK, 200: _json(schemas.REDELIVERED, "Messages that are sent again.")}
READ_SECRETS = _read(schemas.WEBHOOK_SECRETS, "Secrets that verify the webhooks of the pool.")
READ_SCHEDULES = _read(schedule_schemas.SCHEDULES, "Schedules, with their next and last runs.")
CHANGE_SCHEDULE: Responses = {
    **_BODY,
    **_read(schedule_schemas.SCHEDULE_CHANGED, "Done."),
    404: _problem("No such pool or schedule."),
}
READ_HISTORY = _read(schemas.HISTORY, "What happened to the job.")
READ_KINDS = _read(schemas.KINDS, "The kinds that the routes list.")
READ_USAGE = _read(usage_schemas.USAGE_TOTALS, "Usage by the columns of the query, the highest cost first.")
READ_QUEUE = _read(schemas.QUEUE, "The queue at one moment.")
FAILURES = _read(view_schemas.FAILURES, "Groups, the largest first.")
READ_FAMILY = _read(view_schemas.FAMILY, "The job and its relatives.")
NEWEST_EVENTS = _read(view_schemas.NEWEST_EVENTS, "Events, newest first.")
PENDING_REASON = _read(view_schemas.PENDING_REASON, "The reason, or null.")
WORKER_LOG = _read(view_schemas.WORKER_LOG, "The end of the log.")
READ_WORKERS = _read(view_schemas.WORKERS, "Workers.")
POOL_HISTORY = _read(view_schemas.POOL_HISTORY, "Points, oldest first.")
READ_POOLS = _read(schemas.POOLS, "Names.")
READ_VERBS = _read(view_schemas.VERBS, "Verbs, and links.")
READ_OVERVIEW = _read(view_schemas.OVERVIEW, "Rows.")
READ_CARD: Responses = {**_read(agent_schemas.CARD, "An A2A agent card."), **_UNCHANGED}
READ_KEYS: Responses = {
    200: _json(agent_schemas.KEYS, "Public JSON Web Keys."),
    400: _problem("The request cannot be read."),
}
READ_AGENTS = _read(agent_schemas.AGENTS, "Agents, and where their cards are.")
DISCARDED = _read(schemas.OUTCOME, "Deleted.")
PURGED = _read(schemas.PURGED, "Numbers of removed and remaining jobs.")
SIGNAL: Responses = {
    **_COMMON,
    **_BODY,
    202: _json(schemas.SIGNALLED, "Stored, or a duplicate."),
    409: _problem("The job has ended, or has too many signals."),
}
SCALING = _read(schemas.SCALING, "The pool's workers.")
DEMAND = _read(schemas.DEMAND, "The demand of the queue.")
PAUSED: Responses = {**_BODY, **_read(schemas.PAUSED, "As asked.")}
CANCEL: Responses = {
    **_read(schemas.OUTCOME, "Done."),
    202: _json(schemas.OUTCOME, "Asked for."),
    409: _problem("The job's state forbids it."),
}
REPLAY_JOBS: Responses = {**CHANGE_JOBS, 410: _RETIRED}
REPLAY: Responses = {**CANCEL, 202: _json(schemas.REPLAYED, "Asked for."), 410: _RETIRED}
RESULT: Responses = {
    **_read(schemas.RESULT, "How the job ended."),
    202: _json(schemas.RESULT, "Not ended yet."),
}
SUBMIT: Responses = {
    **_COMMON,
    **_BODY,
    200: _json(schemas.RESULT, "Ended while waiting.", headers=("Location",)),
    202: _json({"anyOf": [schemas.TAKEN, schemas.TAKEN_MANY]}, "Kept.", headers=("Location",)),
    409: _problem("The idempotency key or the job's id was used with a different body."),
    410: _RETIRED,
}
STREAM: Responses = {
    **_COMMON,
    200: {
        "description": "Server-Sent Events.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "string",
                    "contentMediaType": "application/json",  # of the lines `data:`
                    "contentSchema": {"oneOf": [schemas.EVENT, schemas.CHUNK]},
                }
            }
        },
    },
    204: {"description": "The job had ended before: do not reconnect."},
}
_EVENTS: Schema = {"description": "Server-Sent Events; the data of each is JSON."}
A2A: Responses = {
    **_BODY,
    **_COMMON,
    200: {
        "description": "A JSON-RPC 2.0 response; a stream of such for a method that streams.",
        "content": {
            "application/json": {"schema": agent_schemas.A2A_ANSWER},
            "text/event-stream": {"schema": _EVENTS},
        },
    },
}
MCP_BODY = _body(agent_schemas.MCP_MESSAGE) | {
    "parameters": [_parameter("header", "MCP-Protocol-Version", example="2026-07-28")]
}
_MCP_ERROR = {"application/json": {"schema": agent_schemas.A2A_ANSWER}}
MCP: Responses = {
    **{
        status: {**answer, "content": {**answer["content"], **_MCP_ERROR}}
        for status, answer in {**_BODY, **_COMMON}.items()
    },
    200: {
        "description": "A JSON-RPC 2.0 response; a stream of messages that ends with the response.",
        "content": {**_MCP_ERROR, "text/event-stream": {"schema": _EVENTS}},
    },
    202: {"description": "A notification was taken."},
    406: {"description": "The header Accept names neither application/json nor text/event-stream."},
}
_A2A_ERROR = {"schema": agent_schemas.A2A_ERROR}
_A2A_ERRORS: Responses = {
    status: {**answer, "content": {**answer["content"], **dict.fromkeys(("application/json", A2A_TYPE), _A2A_ERROR)}}
    for status, answer in {**_BODY, **_COMMON, 500: _problem("The agent's answer cannot be read.")}.items()
}
A2A_REST: Responses = {
    **_A2A_ERRORS,
    200: {
        "description": "Done.",
        "content": {kind: {"schema": agent_schemas.A2A_DOCUMENT} for kind in ("application/json", A2A_TYPE)},
    },
}
A2A_STREAM: Responses = {
    **_A2A_ERRORS,
    200: {"description": "Server-Sent Events.", "content": {"text/event-stream": {"schema": _EVENTS}}},
}
TAGS = [
    {"name": "jobs", "description": "Submit, read, select, cancel and signal jobs."},
    {"name": "webhooks", "description": "Messages to addresses outside, when a job ends."},
    {"name": "schedules", "description": "Jobs that are submitted at due times."},
    {"name": "queue", "description": "The queue of a pool, and its dead letters."},
    {"name": "scaling", "description": "The workers of a pool, and its pause."},
    {"name": "usage", "description": "Usage of models by the jobs of a pool."},
    {"name": "events", "description": "Server-Sent Events of a pool or a job."},
    {"name": "pools", "description": "The pools that a caller may read."},
    {"name": "a2a", "description": "A pool as an agent of the A2A protocol."},
    {"name": "mcp", "description": "A pool as tools of the Model Context Protocol."},
    {"name": "health", "description": "Probes."},
]
CORS: dict[str, Any] = {
    "allow_methods": ["GET", "HEAD", "POST", "PUT", "DELETE"],
    "allow_headers": [
        "Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Prefer", "traceparent",
        "tracestate", "A2A-Version", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name",
    ],
    "expose_headers": ["Allow", "ETag", "Location", "Retry-After"],
    "max_age": 600,
}  # fmt: skip
_SIGNAL = r"[A-Za-z0-9._-]{1,100}"
_PATH_PATTERNS = {
    "namespace": POOL_PART_PATTERN,
    "pool": POOL_PART_PATTERN,
    "job_id": ID_PATTERN,
    "config_id": ID_PATTERN,
    "name": NAME_PATTERN,  # of a webhook, a schedule or a worker
}
_NAMED = {
    "Job": schemas.JOB,
    "JobRequest": schemas.SUBMIT_REQUEST,
    "WebhookRequest": schemas.WEBHOOK_REQUEST,
    "CloudEvent": message_descriptions.CLOUD_EVENT,
    "JobNotice": message_descriptions.NOTICE,
    "Webhook": schemas.WEBHOOK,
    "JobSummary": schemas.SUMMARY,
    "Receipt": schemas.RECEIPT,
    "Result": schemas.RESULT,
    "Queue": schemas.QUEUE,
    "Scaling": schemas.SCALING,
    "Demand": schemas.DEMAND,
    "FailureGroup": view_schemas.FAILURE_GROUP,
    "Relative": view_schemas.RELATIVE,
    "Worker": view_schemas.WORKER,
    "WorkerLog": view_schemas.WORKER_LOG,
    "PendingReason": view_schemas.PENDING_REASON,
    "HistoryPoint": view_schemas.HISTORY_POINT,
    "PoolOverview": view_schemas.OVERVIEW_ROW,
    "History": schemas.HISTORY,
    "Usage": schemas.USAGE,
    "JobPage": schemas.FOUND,
    "Selector": schemas.SELECTOR,
    "Problem": schemas.PROBLEM,
    "A2AAnswer": agent_schemas.A2A_ANSWER,
    "A2AMessage": agent_schemas.A2A_MESSAGE,
    "A2AError": agent_schemas.A2A_ERROR,
    "JobState": schemas.STATE,
    "Submitted": schemas.TAKEN,
    "SubmittedMany": schemas.TAKEN_MANY,
    "Event": schemas.EVENT,
    "EventDetail": schemas.EVENT_DETAIL,
    "Chunk": schemas.CHUNK,
    "Step": schemas.STEP,
    "Delivery": schemas.DELIVERY,
    "Schedule": schedule_schemas.SCHEDULE,
    "ScheduleRequest": schedule_schemas.SCHEDULE_REQUEST,
    "Changed": schemas.APPLIED,
    "Outcome": schemas.OUTCOME,
    "Signalled": schemas.SIGNALLED,
    "Priority": schemas.PRIORITY,
}
PROBE: Responses = {
    400: _problem("The request cannot be read."),
    503: {"description": "Not ready.", "content": {"text/plain": {"schema": schemas.TEXT}}},
}
LICENCE = {"name": "Apache 2.0", "identifier": "Apache-2.0"}
CONTACT = {"name": "The AgentPool developers"}
SERVERS = [{"url": "/", "description": "This gateway."}]


def operation_id(route: APIRoute) -> str:
    """Return the name of a route for generated clients: its tag and its function."""
    return f"{route.tags[0]}_{route.name}" if route.tags else route.name


def _name_of(schema: dict[str, Any]) -> str | None:
    """Return the name of a schema, which may have a description of its own; None: it has none."""
    plain = _plain(schema)
    return next((name for name, each in _NAMED.items() if _plain(each) == plain), None)


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "description"}


def _with_references(value: Any, *, top: bool = False) -> Any:
    """Return a description with references in place of the schemas that have a name."""
    if isinstance(value, dict):
        if not top and (name := _name_of(value)):
            own = {"description": value["description"]} if "description" in value else {}
            return {"$ref": f"#/components/schemas/{name}"} | own
        return {key: _with_references(inner) for key, inner in value.items()}
    return [_with_references(inner) for inner in value] if isinstance(value, list) else value


def _restrict_path(operation: dict[str, Any], path: str) -> None:
    """Add their patterns to the parameters of a path."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            name = parameter["name"]
            pattern = _SIGNAL if name == "name" and "/signals/" in path else _PATH_PATTERNS[name]
            parameter["schema"] = {"type": "string", "pattern": f"^{pattern}$"}


def add_security_schemes(app: FastAPI) -> None:
    """Add to the description which routes need a token, and for which verb."""
    plain = app.openapi

    def with_scheme() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = plain()
            found["paths"] = _with_references(found["paths"])
            found["webhooks"] = _with_references(message_descriptions.WEBHOOKS)
            components = found.setdefault("components", {})
            components["securitySchemes"] = SECURITY
            named = {name: _with_references(schema, top=True) for name, schema in _NAMED.items()}
            components["schemas"] = {**components.get("schemas", {}), **named}
            for path, operations in found["paths"].items():
                for method, operation in operations.items():
                    _restrict_path(operation, path)
                    operation["summary"] = operation.get("description", "").partition("\n\n")[0].rstrip(".")
                    need = table.need_of(method.upper(), path)
                    if need is table.Rule.PUBLIC:
                        operation["security"] = []
                    else:
                        operation["security"] = [{"bearer": []}]
                        operation["x-agentpool-verb"] = str(need)
        return app.openapi_schema or {}

    app.openapi = with_scheme  # type: ignore[method-assign]  # FastAPI's own way to extend it
