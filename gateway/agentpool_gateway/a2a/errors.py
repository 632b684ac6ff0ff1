"""Errors of the protocol: AgentPool's errors as A2A errors, and their documents for JSON-RPC and REST.

An error that concerns the request as HTTP (token, permission, size, media type, unknown pool) stays a problem document;
`fault_of` raises it again. All other errors get a code of the specification, with the remedy in the message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from a2a.utils import errors as a2a
from a2a.utils.error_handlers import build_error_details

from agentpool_core.documents import Document
from agentpool_core.errors import (
    AgentPoolError,
    ClusterError,
    FieldError,
    IdempotencyConflictError,
    InvalidJobError,
    QueueError,
    QueueFullError,
    RetiredPoolError,
    UnknownJobError,
    UnknownPoolError,
)
from agentpool_gateway.http.problems import ProblemError, problem_of


class QueueFull(a2a.A2AError):
    """The pool's queue is full; `data` says when to come again."""


class Unavailable(a2a.A2AError):
    """Redis or the Kubernetes API does not answer."""


class PermissionLost(a2a.A2AError):
    """The caller of an open stream has lost its permission."""


_OURS: dict[type[a2a.A2AError], tuple[int, a2a.ErrorMapping]] = {  # codes in the range left to servers
    QueueFull: (-32050, a2a.ErrorMapping(429, "RESOURCE_EXHAUSTED", "QUEUE_FULL")),
    PermissionLost: (-32051, a2a.ErrorMapping(403, "PERMISSION_DENIED", "PERMISSION_LOST")),
    Unavailable: (-32603, a2a.ErrorMapping(503, "UNAVAILABLE", "UNAVAILABLE")),
    a2a.JSONParseError: (-32700, a2a.ErrorMapping(400, "INVALID_ARGUMENT", "INVALID_JSON")),
}


def invalid(field: str, problem: str) -> a2a.InvalidParamsError:
    """Return the error for a parameter that cannot be used."""
    return a2a.InvalidParamsError(f"{field}: {problem}", {"errors": [{"field": field, "message": problem}]})


def fault_of(error: AgentPoolError | a2a.A2AError) -> a2a.A2AError:
    """Return the A2A error of an error. Raises errors again that HTTP answers."""
    if isinstance(error, a2a.A2AError):
        return error
    if isinstance(error, ProblemError) and error.name == "malformed-json":
        return a2a.JSONParseError(error.detail)
    for kind, fault in _FAULTS:
        if isinstance(error, kind):
            return fault(error)
    if isinstance(error, (UnknownPoolError, FieldError)) or not isinstance(error, (QueueError, ClusterError)):
        raise error
    _, body, headers = problem_of(error)  # logs the cause, which may name a server
    return Unavailable(f"{body['detail']}; {body['remedy']}", {"retryAfterMs": f"{headers['Retry-After']}000"})


_FAULTS: tuple[tuple[type[AgentPoolError], Callable[[Any], a2a.A2AError]], ...] = (
    (
        UnknownJobError,
        lambda e: a2a.TaskNotFoundError(f"task {e.job_id!r} does not exist", {"taskId": e.job_id}),
    ),
    (
        IdempotencyConflictError,
        lambda e: invalid("idempotency_key", f"used before, for task {e.job_id}, with another content; use a new one"),
    ),
    (InvalidJobError, lambda e: invalid(e.field, f"{e.problem}; {e.remedy}")),
    (
        RetiredPoolError,
        lambda _: a2a.UnsupportedOperationError("the agent was removed: its tasks can be read, no message is taken"),
    ),
    (QueueFullError, lambda e: QueueFull(str(e), {"retryAfterMs": str(e.retry_after_ms)})),
)


def refusal_of(error: AgentPoolError) -> a2a.A2AError:
    """Return the error with which an open stream ends."""
    if isinstance(error, ProblemError):
        return PermissionLost(error.detail)
    return fault_of(error)


def rpc_error(error: a2a.A2AError) -> Document:
    """Return the error object of a JSON-RPC response."""
    code, _ = _codes(error)
    return {"code": code, "message": _words(error), "data": _details(error)}


def rest_error(error: a2a.A2AError) -> tuple[int, Document]:
    """Return the HTTP status and the body, a google.rpc.Status."""
    _, mapping = _codes(error)
    found = {"code": mapping.http_code, "status": mapping.grpc_status, "message": _words(error)}
    return mapping.http_code, {"error": found | {"details": _details(error)}}


def retry_after(error: a2a.A2AError) -> dict[str, str]:
    """Return the header that says when to come again, if coming again helps."""
    after_ms = (error.data or {}).get("retryAfterMs")
    return {"Retry-After": str(max(1, -(-int(after_ms) // 1000)))} if after_ms else {}


def _codes(error: a2a.A2AError) -> tuple[int, a2a.ErrorMapping]:
    kind = type(error)
    return _OURS[kind] if kind in _OURS else (a2a.JSON_RPC_ERROR_CODE_MAP[kind], a2a.A2A_ERROR_MAPPING[kind])


def _details(error: a2a.A2AError) -> list[dict[str, Any]]:
    """Return the typed details; the violations of fields are an object of their own, not metadata."""
    info, *more = build_error_details(error)
    metadata = {name: value for name, value in info["metadata"].items() if isinstance(value, str)}
    return [info | {"reason": _codes(error)[1].reason, "metadata": metadata}, *more]


def _words(error: a2a.A2AError) -> str:
    """Return the message; of the SDK's own check of fields, one that names them."""
    if isinstance(error, a2a.InvalidParamsError) and error.data and "errors" in error.data:
        return "; ".join(f"{each['field']}: {each['message'].rstrip('.')}" for each in error.data["errors"][:10])
    return error.message
