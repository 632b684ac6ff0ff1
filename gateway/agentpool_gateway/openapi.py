"""What the API's description says beyond the code: request bodies, problems, the bearer scheme.

Data only; FastAPI puts it into `/openapi.json`, and the page at `/docs` shows it.
"""

from __future__ import annotations

from typing import Any

from agentpool.jobs import OnParentFailure, Priority

Responses = dict[int | str, dict[str, Any]]

_MS = {"type": "integer", "minimum": 0}
JOB = {
    "type": "object",
    "required": ["kind"],
    "additionalProperties": False,
    "properties": {
        "kind": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Names the handler."},
        "payload": {"description": "Any JSON, handed to the handler; at most 1 MiB."},
        "priority": {"type": "string", "enum": [priority.value for priority in Priority], "default": "task"},
        "job_id": {"type": ["string", "null"], "description": "Null: one is made."},
        "idempotency_key": {"type": ["string", "null"], "description": "As the header Idempotency-Key."},
        "after": {"type": "array", "items": {"type": "string"}, "description": "Jobs that must end first."},
        "on_parent_failure": {"type": "string", "enum": [choice.value for choice in OnParentFailure]},
        "delay_ms": _MS | {"description": "Not before this long from now, in milliseconds."},
        "ttl_ms": {"type": ["integer", "null"], "minimum": 1, "description": "Longest wait, in milliseconds."},
        "timeout_ms": {"type": ["integer", "null"], "minimum": 1, "description": "One attempt, in milliseconds."},
        "max_attempts": {"type": ["integer", "null"], "minimum": 1},
        "preemptible": {"type": "boolean", "default": False},
        "trace": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
SUBMIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"oneOf": [JOB, {"type": "array", "items": JOB}]}},
            "application/x-ndjson": {"schema": {"type": "string", "description": "A job a line."}},
        },
    },
    "parameters": [
        {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}},
        {"name": "Prefer", "in": "header", "schema": {"type": "string"}, "example": "wait=30"},
        {"name": "wait", "in": "query", "schema": {"type": "string"}, "example": "30s"},
    ],
}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "remedy": {"type": "string"},
        "instance": {"type": "string"},
        "field": {"type": "string"},
    },
}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": PROBLEM}}}


_COMMON: Responses = {
    400: _problem("The request cannot be read."),
    401: _problem("No token, or one that is not known."),
    403: _problem("The caller may not."),
    404: _problem("No such pool or job."),
    422: _problem("A field cannot be used."),
    429: _problem("The queue is full (type …:queue-full), or the caller too fast (…:rate-limited); see Retry-After."),
    503: _problem("Redis or the cluster did not answer; see Retry-After."),
}
READ: Responses = dict(_COMMON)
CANCEL: Responses = {**_COMMON, 202: {"description": "Asked for."}, 409: _problem("The job's state forbids it.")}
RESULT: Responses = {**_COMMON, 202: {"description": "Not ended yet."}}
SUBMIT: Responses = {
    **_COMMON,
    200: {"description": "Ended while waiting."},
    408: _problem("The body came too slowly."),
    409: _problem("The idempotency key was used with another body."),
    413: _problem("The body, or a payload, is too large."),
    415: _problem("The body is of another type."),
}
STREAM: Responses = {
    **_COMMON,
    200: {"description": "Server-Sent Events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
}
A2A: Responses = {**_COMMON, 200: {"description": "A JSON-RPC 2.0 response."}}
