"""Parts of the API's description beyond the code of a route: request bodies, parameters, answers by status. Data only.

FastAPI includes them in `/openapi.json`, and the page at `/docs/` shows them. `description` completes the whole.
"""

from __future__ import annotations

from typing import Any

from agentpool_gateway import agent_schemas, schedule_schemas, schemas, selector_schemas, usage_schemas, view_schemas
from agentpool_gateway.access import table
from agentpool_gateway.schemas import Schema

Responses = dict[int | str, dict[str, Any]]


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


def parameter(place: str, name: str, **schema: Any) -> dict[str, Any]:
    """Return an optional parameter of a request; description and example stand beside its schema."""
    beside: dict[str, Any] = {key: schema.pop(key) for key in ("description", "example") if key in schema}
    return {"name": name, "in": place, "required": False, "schema": {"type": "string", **schema}, **beside}


def _leading_to(answer: dict[str, Any], *operations: str, **more: str) -> dict[str, Any]:
    """Return an answer with links to operations on the thing that it names; `more`: their path parameters."""
    places = {name: f"$request.path.{name}" for name in ("namespace", "pool")} | more
    links = {operation: {"operationId": operation, "parameters": places} for operation in operations}
    return answer | {"links": links}


WAIT = {
    "parameters": [
        parameter("header", "Prefer", example="wait=30"),
        parameter("query", "wait", pattern="^[0-9]{1,6}(ms|s|m)?$", example="30s"),
    ]
}
RESUME = {"parameters": [parameter("header", "Last-Event-ID", pattern=r"^[0-9]{1,16}(-[0-9]{1,16}(\.[0-9]{1,9})?)?$")]}
SUBMIT_BODY: dict[str, Any] = {
    **_body(
        {"oneOf": [schemas.SUBMIT_REQUEST, schemas.rows(schemas.SUBMIT_REQUEST)]},
        ("application/x-ndjson", {"type": "string", "description": "A job a line."}),
    ),
    "parameters": [
        parameter(
            "header",
            "Idempotency-Key",
            pattern="^[!-~][ -~]{0,254}$",
            description="Of one job; in a list each has its own idempotency_key.",
        ),
        parameter("header", "traceparent"),
        *WAIT["parameters"],
    ],
}
SIGNAL_BODY = {
    "requestBody": {"required": False, "content": {"application/json": {"schema": {}}}},
    "parameters": [
        parameter(
            "header", "Idempotency-Key", pattern="^[!-~][ -~]{0,199}$", description="Id of the signal, for repeats."
        )
    ],
}
PAUSED_BODY = _body({"type": "object", "required": ["paused"], "properties": {"paused": schemas.FLAG}})
REPLAY_BODY = _body(selector_schemas.REPLAY_SELECTOR)
PURGE_BODY = _body(selector_schemas.PURGE_SELECTOR)
WEBHOOK_BODY = _body(schemas.WEBHOOK_REQUEST)
SCHEDULE_BODY = _body(schedule_schemas.SCHEDULE_REQUEST)
CANCEL_BODY = _body(selector_schemas.CANCEL_SELECTOR)
A2A_TYPE = "application/a2a+json"
_VERSION = parameter("header", "A2A-Version", enum=["1.0", "0.3"], example="1.0")
A2A_BODY = _body(agent_schemas.a2a_call(table.A2A_METHODS)) | {"parameters": [_VERSION]}
_ONLY_1_0 = parameter("header", "A2A-Version", enum=["1.0"], example="1.0") | {"required": True}
A2A_REST_CALL = {"parameters": [_ONLY_1_0]}
A2A_MESSAGE = _body(agent_schemas.A2A_MESSAGE, (A2A_TYPE, agent_schemas.A2A_MESSAGE)) | A2A_REST_CALL
A2A_CONFIG_BODY = _body(agent_schemas.A2A_CONFIG, (A2A_TYPE, agent_schemas.A2A_CONFIG)) | A2A_REST_CALL
_HISTORY = parameter("query", "historyLength", type="integer", minimum=0, maximum=1_000)
A2A_GET = {"parameters": [_ONLY_1_0, _HISTORY]}
A2A_LIST = {
    "parameters": [
        _ONLY_1_0,
        _HISTORY,
        parameter("query", "pageSize", type="integer", minimum=1, maximum=100),
        parameter("query", "pageToken", description="nextPageToken of the page before."),
        parameter("query", "contextId"),
        parameter("query", "status", example="TASK_STATE_WORKING"),
        parameter("query", "statusTimestampAfter", format="date-time"),
        parameter("query", "includeArtifacts", type="boolean"),
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
_OF_A_JOB = (  # operations that take the id of a submitted job
    "jobs_read", "jobs_result", "jobs_history", "jobs_family", "jobs_cancel", "webhooks_list_webhooks", "a2a_task",
    "a2a_create_config",
)  # fmt: skip
SUBMIT: Responses = {
    **_COMMON,
    **_BODY,
    200: _json(schemas.RESULT, "Ended while waiting.", headers=("Location",)),
    202: _leading_to(
        _json({"anyOf": [schemas.TAKEN, schemas.TAKEN_MANY]}, "Kept.", headers=("Location",)),
        *_OF_A_JOB,
        job_id="$response.body#/job_id",
    ),
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
    "parameters": [parameter("header", "MCP-Protocol-Version", example="2026-07-28")]
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
A2A_CONFIG: Responses = A2A_REST | {  # of a configuration, which a new one and its end lead to
    200: _leading_to(
        A2A_REST[200], "a2a_config", "a2a_delete_config", job_id="$request.path.job_id", config_id="$response.body#/id"
    )
}
A2A_CONFIG_DELETED: Responses = A2A_REST | {
    200: _leading_to(A2A_REST[200], "a2a_config", job_id="$request.path.job_id", config_id="$request.path.config_id")
}
A2A_STREAM: Responses = {
    **_A2A_ERRORS,
    200: {"description": "Server-Sent Events.", "content": {"text/event-stream": {"schema": _EVENTS}}},
}
CORS: dict[str, Any] = {
    "allow_methods": ["GET", "HEAD", "POST", "PUT", "DELETE"],
    "allow_headers": [
        "Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Prefer", "traceparent",
        "tracestate", "A2A-Version", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name",
    ],
    "expose_headers": ["Allow", "ETag", "Location", "Retry-After"],
    "max_age": 600,
}  # fmt: skip
PROBE: Responses = {
    400: _problem("The request cannot be read."),
    503: {"description": "Not ready.", "content": {"text/plain": {"schema": schemas.TEXT}}},
}
