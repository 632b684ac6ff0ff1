"""Middleware of every request: duration and status, a log line without secrets, and security headers.

The line has the route's template, never the query or a header; the path is quoted, so it cannot forge a line. Plain
ASGI, because streams must pass unbuffered.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentpool_core.text import frames_of
from agentpool_gateway.http.draining import Draining
from agentpool_gateway.http.problems import failure
from agentpool_gateway.metrics import Metrics

log = logging.getLogger("agentpool_gateway.requests")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # HTTP accepts any word as a method
QUIET = frozenset({"/healthz", "/readyz"})
API_POLICY = "default-src 'none'; frame-ancestors 'none'"


class RequestMiddleware:
    """Measures, logs and adds headers."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, draining: Draining) -> None:
        self._app = app
        self._metrics = metrics
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        answered = False

        async def send_watched(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                _add_headers(message, leaving=self._draining.begun)
                self._record(scope, message["status"], time.perf_counter() - begun)
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except Exception as error:  # noqa: BLE001 - an unexpected error ends this request only
            log.error("unexpected error at %s:\n%s", _template(scope), frames_of(error))  # noqa: TRY400 - without texts
            if not answered:
                await failure(scope["path"])(scope, receive, send_watched)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        template, method = _template(scope), _method(scope)
        self._metrics.requests.labels(method, template, status).inc()
        self._metrics.seconds.labels(method, template).observe(seconds)
        if template not in QUIET:
            caller = scope.get("caller", "-")
            log.info(
                "%s %r %d %.1f ms, caller %r", scope["method"], scope["path"][:200], status, seconds * 1000, caller
            )


def _method(scope: Scope) -> str:
    """Return the request's method; a common label for unknown methods bounds the series."""
    return scope["method"] if scope["method"] in METHODS else "other"


def _template(scope: Scope) -> str:
    """Return the route's template; a common label for paths without a route."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "none"))


def _add_headers(message: Message, *, leaving: bool) -> None:
    headers = MutableHeaders(scope=message)
    if leaving:
        headers["Connection"] = "close"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    if "content-security-policy" not in headers:
        headers["Content-Security-Policy"] = API_POLICY
    if "cache-control" not in headers:
        headers["Cache-Control"] = "no-store"
