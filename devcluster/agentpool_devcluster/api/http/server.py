"""The HTTP server: authentication, authorization, routing, and the life of the streams.

`ApiServer` owns the cluster's state and the services that listen to the state.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web

from agentpool_devcluster.api.access.rules import Attempt, decide
from agentpool_devcluster.api.access.tokens import Tokens, User, as_user
from agentpool_devcluster.api.builtins import register_builtins
from agentpool_devcluster.api.definitions import DefinitionService
from agentpool_devcluster.api.errors import StatusError, Subject, anonymous, forbidden, no_such_path, unauthorized
from agentpool_devcluster.api.garbage import GarbageCollector
from agentpool_devcluster.api.http.answers import refusal
from agentpool_devcluster.api.http.bodies import MAX_BODY_BYTES
from agentpool_devcluster.api.http.documents import DocumentPages
from agentpool_devcluster.api.http.logs import log_url, stream_log
from agentpool_devcluster.api.http.paths import Target, parse_target, split_token, token_prefix, verb_of
from agentpool_devcluster.api.http.recorder import Recorder
from agentpool_devcluster.api.http.requests import ApiRequest, find_resource
from agentpool_devcluster.api.http.resources import handler_for, watch_options
from agentpool_devcluster.api.http.watching import WatchStream
from agentpool_devcluster.api.namespaces import NamespaceService
from agentpool_devcluster.api.operations.cluster import Cluster
from agentpool_devcluster.api.store import HISTORY_CHANGES, Store

_log = logging.getLogger(__name__)
_HEALTH = ("/healthz", "/livez", "/readyz")
_SHUTDOWN_SECONDS = 2.0  # open requests get this long when the server stops


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How the API server runs."""

    host: str = "127.0.0.1"  # address to listen on
    port: int = 0  # 0 chooses a free port
    token: str | None = None  # the administrator's token; None: random
    uid: str | None = None  # of the namespace kube-system; None: random
    record: Path | None = None  # file that gets a line for each request; None: no record
    history: int = HISTORY_CHANGES  # changes kept for watches, per resource


class ListenError(OSError):
    """An address that cannot be listened on: taken, forbidden, or not of this machine."""

    def __init__(self, address: str, cause: OSError) -> None:
        number = cause.errno or 0
        reason = os.strerror(number) if number > 0 else cause.strerror or cause  # a resolver's numbers are below 0
        super().__init__(f"{address}: {reason}")


class ApiServer:
    """An API server that is started, used over HTTP, and stopped."""

    def __init__(self, settings: ServerSettings | None = None) -> None:
        self._settings = settings or ServerSettings()
        self.cluster = Cluster(store=Store(history=self._settings.history))
        self.tokens = Tokens(self._settings.token)
        register_builtins(self.cluster.registry)
        DefinitionService(self.cluster)
        self._garbage = GarbageCollector(self.cluster)
        NamespaceService(self.cluster).prepare(self._settings.uid)
        self._pages = DocumentPages(self.cluster.registry)
        self._recorder = Recorder(self._settings.record) if self._settings.record else None
        self._stopping = asyncio.Event()
        self._streams: set[WatchStream] = set()
        self.cluster.registry.on_removal.append(self._wake_streams)
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.port = self._settings.port

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://{self._settings.host}:{self.port}"

    @property
    def admin_url(self) -> str:
        """Where the administrator's clients connect: with the token in the path."""
        return f"{self.url}{token_prefix(self.tokens.admin_token)}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises ListenError if the address cannot be used."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host, self._settings.port)
        try:
            await site.start()
        except OSError as error:
            raise ListenError(f"{self._settings.host}:{self._settings.port}", error) from error
        self.port = int(self._runner.addresses[0][1])
        self._session = aiohttp.ClientSession()
        self._tasks.append(asyncio.create_task(self._garbage.run(), name="garbage-collector"))

    async def stop(self) -> None:
        """End all streams and stop listening."""
        self._stopping.set()
        self._wake_streams()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()
        if self._recorder is not None:
            self._recorder.close()

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        try:
            return await self._route(http)
        except StatusError as error:
            return refusal(error)
        except web.HTTPRequestEntityTooLarge:
            limit = f"Request entity too large: limit is {MAX_BODY_BYTES}"
            return refusal(StatusError(413, "RequestEntityTooLarge", limit))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001 - a bug here must not take the cluster down
            _log.exception("%s %s failed", http.method, http.path_qs)
            message = "the devcluster failed to answer; its log has the traceback"
            return refusal(StatusError(500, "InternalError", message))

    async def _route(self, http: web.Request) -> web.StreamResponse:
        token, path = split_token(http.path)
        if path in _HEALTH or path.startswith(tuple(f"{prefix}/" for prefix in _HEALTH)):
            return web.Response(text="ok")
        user = self._authenticate(http, token)
        target = parse_target(path)
        if target is None or not target.plural:
            self._authorize(user, Attempt(verb=http.method.lower(), path=path))
            return self._pages.answer(http, path, target)
        verb = verb_of(http.method, target, http.query)
        self._permit(http, user, verb, target)
        resource = find_resource(self.cluster, target, verb)
        request = ApiRequest(http=http, cluster=self.cluster, user=user, target=target, verb=verb, resource=resource)
        if request.would_create():
            self._permit(http, user, "create", target)
        if verb == "watch":
            return await self._watch(request)
        if target.subresource == "log":
            return await self._log(request)
        return await handler_for(request, self.tokens)(request)

    def _authenticate(self, http: web.Request, token: str) -> User:
        scheme, _, given = http.headers.get("Authorization", "").partition(" ")
        known = given.strip() if scheme.lower() == "bearer" else token
        if not known:
            raise anonymous(http.path)
        user = self.tokens.user_of(known)
        if user is None:
            raise unauthorized()
        return self._impersonated(http, user)

    def _impersonated(self, http: web.Request, user: User) -> User:
        """Return the user that the caller impersonates, if permitted."""
        name = http.headers.get("Impersonate-User")
        if name is None:
            return user
        self._authorize(user, Attempt(verb="impersonate", resource="users", name=name))
        return as_user(name, http.headers.getall("Impersonate-Group", []))

    def _permit(self, http: web.Request, user: User, verb: str, target: Target) -> None:
        """Record the request, and refuse it unless a rule allows it."""
        if self._recorder is not None:
            agent = http.headers.get("User-Agent", "")
            self._recorder.record(agent=agent, user=user.name, verb=verb, target=target)
        self._authorize(user, _attempt(verb, target))

    def _authorize(self, user: User, attempt: Attempt) -> None:
        if decide(self.cluster.store, user, attempt).allowed:
            return
        if attempt.path:
            subject = Subject(group="", kind=attempt.path)
            raise forbidden(subject, f'User "{user.name}" cannot {attempt.verb} path "{attempt.path}"')
        where = f'in the namespace "{attempt.namespace}"' if attempt.namespace else "at the cluster scope"
        raise forbidden(
            Subject(group=attempt.group, kind=attempt.resource, name=attempt.name),
            f'User "{user.name}" cannot {attempt.verb} resource "{attempt.full_resource}" in API group '
            f'"{attempt.group}" {where}',
        )

    def _wake_streams(self) -> None:
        for stream in tuple(self._streams):
            stream.wake()

    async def _watch(self, request: ApiRequest) -> web.StreamResponse:
        options = watch_options(request)
        stream = WatchStream(self.cluster.store, self.cluster.registry, options)
        response = web.StreamResponse(headers={"Content-Type": options.form.media_type})
        response.enable_chunked_encoding()
        await response.prepare(request.http)
        self._streams.add(stream)
        try:
            with suppress(ConnectionError):  # the client left
                await stream.run(response, self._stopping)
        finally:
            self._streams.discard(stream)
        return response

    async def _log(self, request: ApiRequest) -> web.StreamResponse:
        url = log_url(self.cluster, request.namespace, request.target.name, request.http.query)
        if self._session is None:
            raise no_such_path()
        return await stream_log(self._session, request.http, url, "the node")


def _attempt(verb: str, target: Target) -> Attempt:
    return Attempt(
        verb=verb,
        group=target.group,
        resource=target.plural,
        subresource=target.subresource,
        namespace=target.namespace or "",
        name=target.name,
    )
