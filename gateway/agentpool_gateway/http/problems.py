"""Errors over HTTP: RFC 9457 problem details, each with the remedy.

A table maps our errors to a status; detail and remedy are those of the error. `outages` describes failures of Redis and
of the Kubernetes API. An unexpected error becomes a 500 without internal details; the log has them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from agentpool_core.errors import (
    AgentPoolError,
    DurabilityUnavailableError,
    FieldError,
    IdempotencyConflictError,
    InvalidJobError,
    NotDurableError,
    PayloadTooDeepError,
    PayloadTooLargeError,
    QueueError,
    QueueFullError,
    RetiredPoolError,
    SchemaMismatchError,
    SettingError,
    SignalRefusedError,
    UnknownJobError,
    UnknownKindError,
    UnknownPoolError,
)
from agentpool_core.queue.formats import NewerFormatError
from agentpool_core.queue.schedules import UnknownScheduleError
from agentpool_core.queue.webhooks import UnknownWebhookError
from agentpool_core.redis_address import AddressError, without_address
from agentpool_gateway.http.answers import JsonResponse
from agentpool_gateway.http.outages import Outage, outage_of

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger(__name__)


class ProblemError(AgentPoolError):
    """A problem that only HTTP has: authentication, media types, sizes, rates."""

    def __init__(
        self, status: HTTPStatus, name: str, detail: str, *, remedy: str, headers: dict[str, str] | None = None
    ) -> None:
        self.status = status
        self.name = name  # kebab-case; ends the type's URN
        self.headers = headers or {}
        super().__init__(detail, remedy=remedy)


# The first match counts; a subclass precedes its base.
_STATUS: tuple[tuple[type[AgentPoolError], HTTPStatus, str], ...] = (
    (UnknownPoolError, HTTPStatus.NOT_FOUND, "unknown-pool"),
    (RetiredPoolError, HTTPStatus.GONE, "retired-pool"),
    (NewerFormatError, HTTPStatus.SERVICE_UNAVAILABLE, "newer-format"),
    (UnknownJobError, HTTPStatus.NOT_FOUND, "unknown-job"),
    (SignalRefusedError, HTTPStatus.CONFLICT, "signal-refused"),
    (PayloadTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large"),
    (PayloadTooDeepError, HTTPStatus.UNPROCESSABLE_ENTITY, "too-deep"),
    (SchemaMismatchError, HTTPStatus.UNPROCESSABLE_ENTITY, "schema-mismatch"),
    (UnknownScheduleError, HTTPStatus.NOT_FOUND, "unknown-schedule"),
    (UnknownWebhookError, HTTPStatus.NOT_FOUND, "unknown-webhook"),
    (UnknownKindError, HTTPStatus.UNPROCESSABLE_ENTITY, "unknown-kind"),
    (InvalidJobError, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-job"),
    (QueueFullError, HTTPStatus.TOO_MANY_REQUESTS, "queue-full"),
    (NotDurableError, HTTPStatus.SERVICE_UNAVAILABLE, "not-durable"),
    (DurabilityUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE, "durability-unavailable"),
    (IdempotencyConflictError, HTTPStatus.CONFLICT, "idempotency-conflict"),
    (SettingError, HTTPStatus.BAD_REQUEST, "bad-request"),
)


def problem_of(error: AgentPoolError, *, executed: bool = True) -> tuple[HTTPStatus, dict[str, Any], dict[str, str]]:
    """Return status, body and headers for an error. `executed`: the request's handler has begun."""
    if isinstance(error, ProblemError):
        return error.status, _body(error.status, error.name, error.detail, remedy=error.remedy), error.headers
    status, name = _status_of(error)
    if status is None:
        outage = outage_of(error, executed=executed)
        return _internal_error() if outage is None else _outage_answer(outage, error)
    body = _body(status, name, _detail_of(error), remedy=error.remedy)
    headers: dict[str, str] = {}
    if isinstance(error, FieldError):
        body |= {"field": error.field, "detail": f"{error.field}: {error.problem}"}
    if isinstance(error, QueueFullError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_ms / 1000)))
        body |= {"depth": error.depth, "limit": error.limit, "retry_after_ms": error.retry_after_ms}
    if isinstance(error, IdempotencyConflictError):
        body["job_id"] = error.job_id
    return status, body, headers


def _status_of(error: AgentPoolError) -> tuple[HTTPStatus | None, str]:
    """Return status and name of a problem that the request itself caused; (None, "") for other errors."""
    if isinstance(error, AddressError):  # a setting of the pool's owner, not of the request
        return None, ""
    return next(((status, name) for kind, status, name in _STATUS if isinstance(error, kind)), (None, ""))


def _detail_of(error: AgentPoolError) -> str:
    """Return the error's text; of a failure of Redis without its address and the words of the server."""
    if isinstance(error, NotDurableError) and isinstance(error.__cause__, QueueError):
        log.warning("%s", error)
        problem = without_address(error.__cause__).detail
        return NotDurableError(error.durability, problem, error.accepted, remedy="").detail
    return error.detail


def _outage_answer(outage: Outage, error: AgentPoolError) -> tuple[HTTPStatus, dict[str, Any], dict[str, str]]:
    log.warning("%s: %s", outage.name, without_address(error) if isinstance(error, QueueError) else error)
    body = _body(outage.status, outage.name, outage.detail, remedy=outage.remedy)
    return outage.status, body, {"Retry-After": str(outage.retry_after_seconds)}


def _internal_error() -> tuple[HTTPStatus, dict[str, Any], dict[str, str]]:
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return status, _body(status, "internal", "the gateway failed", remedy="see its log"), {}


def _body(status: HTTPStatus, name: str, detail: str, *, remedy: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"urn:agentpool:problem:{name}",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
    }
    return body | {"remedy": remedy} if remedy else body


def install(app: FastAPI, *, methods_at: Callable[[str], list[str]]) -> None:
    """Turn every error of the app into a problem. `methods_at`: the methods of a path, for the header Allow."""

    @app.exception_handler(AgentPoolError)
    async def ours(request: Request, error: AgentPoolError) -> JsonResponse:
        status, body, headers = problem_of(error, executed=getattr(request.state, "admitted", False))
        accepted = getattr(error, "accepted", None)
        if accepted:
            from agentpool_core.documents import receipt_document

            body["accepted"] = [receipt_document(receipt) for receipt in accepted]
        return _response(request, status, body, headers)

    @app.exception_handler(RequestValidationError)
    async def parameters(request: Request, error: RequestValidationError) -> JsonResponse:
        first = error.errors()[0]
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        body = _body(status, "bad-parameter", str(first["msg"]), remedy="correct the parameter; /docs lists them")
        body["field"] = ".".join(str(part) for part in first["loc"])
        return _response(request, status, body, {})

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JsonResponse:
        status = HTTPStatus(error.status_code)
        body = _body(status, status.phrase.lower().replace(" ", "-"), str(error.detail), remedy="see /docs")
        headers = dict(error.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED and (methods := methods_at(request.url.path)):
            headers = {name: text for name, text in headers.items() if name.lower() != "allow"}
            headers["Allow"] = ", ".join(methods)
        return _response(request, status, body, headers)


def failure(path: str) -> JsonResponse:
    """Return the answer to an unexpected failure, without internal details."""
    status, body, headers = _internal_error()
    return JsonResponse(body | {"instance": path}, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def response(request: Request, error: AgentPoolError) -> JsonResponse:
    """Return the answer for an error raised before the app handles the request."""
    status, body, headers = problem_of(error, executed=False)
    return _response(request, status, body, headers)


def _response(request: Request, status: HTTPStatus, body: dict[str, Any], headers: dict[str, str]) -> JsonResponse:
    body["instance"] = request.url.path
    return JsonResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)
