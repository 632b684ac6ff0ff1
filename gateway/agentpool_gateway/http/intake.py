"""Checks of a request before any route, and the external address of the gateway.

Ambiguous framing is refused and the connection closed, because a proxy may have read the framing differently. For the
same reason an encoded slash is refused. A gateway without authentication answers only to its own names, so no web page
reaches it through DNS rebinding. Proxy headers count only from a trusted proxy; the external URL takes precedence.
Plain ASGI, because streams must pass unbuffered.
`middleware` surrounds this layer, the routes are inside.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from agentpool_gateway.addresses import AllowedHosts, ExternalUrl, TrustedProxies
from agentpool_gateway.http import problems
from agentpool_gateway.http.problems import ProblemError


class Intake:
    """Middleware that refuses requests or corrects their address."""

    def __init__(
        self, app: ASGIApp, *, names: AllowedHosts | None, proxies: TrustedProxies, external: ExternalUrl | None
    ) -> None:
        self._app = app
        self._names = names  # None: any, because requests need a token
        self._proxies = proxies
        self._external = external

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _framing(scope) or _hidden_slash(scope) or self._foreign(scope)
        if refusal is not None:
            await problems.response(Request(scope), refusal)(scope, receive, send)
            return
        self._proxies.apply(scope)
        if self._external is not None:
            self._external.apply(scope)
        await self._app(scope, receive, send)

    def _foreign(self, scope: Scope) -> ProblemError | None:
        """Return a refusal for a foreign host name or a foreign page origin, or None."""
        if self._names is None:
            return None
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._names.include(host):
            return _not_ours("Host", host)
        if origin is not None and not self._names.include(origin.partition("://")[2]):
            return _not_ours("Origin", origin)
        return None


def _framing(scope: Scope) -> ProblemError | None:
    """RFC 9112, section 6.1: two lengths of a body are an attempt at request smuggling."""
    headers = Headers(scope=scope)
    chunked = "transfer-encoding" in headers
    if not chunked or ("content-length" not in headers and scope["http_version"] != "1.0"):
        return None
    other = "Content-Length" if "content-length" in headers else "HTTP/1.0"
    return ProblemError(
        HTTPStatus.BAD_REQUEST,
        "ambiguous-framing",
        f"the request has Transfer-Encoding and {other}",
        remedy="send one of them",
        headers={"Connection": "close"},
    )


def _hidden_slash(scope: Scope) -> ProblemError | None:
    """Refuse an encoded slash: no name has one, and a proxy's rule for a path would not see it as one."""
    if b"%2f" not in scope.get("raw_path", b"").lower():
        return None
    return ProblemError(
        HTTPStatus.BAD_REQUEST,
        "encoded-slash",
        "the path has an encoded slash (%2F), and no name of a namespace, pool or job has a slash",
        remedy="write the path as /docs shows it",
    )


def _not_ours(header: str, value: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.FORBIDDEN,
        "foreign-host",
        f"{header} is {value[:100]!r}, and this gateway without authentication answers only to its own names",
        remedy="use http://localhost or 127.0.0.1, or start the gateway with --allowed-host NAME or with tokens",
        headers={"Connection": "close"},
    )
