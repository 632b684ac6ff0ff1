"""Admission of every request: need of the route, token, rate, pool name, permission, queue.

`guard` runs before every handler and reads the need in `access.table`; a route without a row is refused. A handler asks
for `Admitted`, or for `Authenticated` if the body decides the verb. Nothing about a pool is read for a caller without
permission.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias, cast

from fastapi import Depends, Request

from agentpool_core.errors import AgentPoolError
from agentpool_core.jobs import Json, PoolRef
from agentpool_gateway.access import table
from agentpool_gateway.access.authority import Authority, Caller, Verb, forbidden
from agentpool_gateway.access.rate import RateLimit
from agentpool_gateway.access.table import Rule
from agentpool_gateway.card_signing import CardSigner
from agentpool_gateway.delivery.deliveries import Deliveries
from agentpool_gateway.http.bodies import json_body
from agentpool_gateway.http.draining import Draining
from agentpool_gateway.http.problems import ProblemError
from agentpool_gateway.http.query import check_query
from agentpool_gateway.metrics import Metrics
from agentpool_gateway.overview import Overview
from agentpool_gateway.pools.pool_resources import PoolResources
from agentpool_gateway.pools.queues import PoolQueue, Queues
from agentpool_gateway.settings import GatewaySettings

SCHEME = "bearer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """Shared state of all requests, attached to the app."""

    settings: GatewaySettings
    authority: Authority
    rate: RateLimit
    queues: Queues
    pool_resources: PoolResources
    overview: Overview
    metrics: Metrics
    draining: Draining
    deliveries: Deliveries
    card_signer: CardSigner | None = None  # None: cards are not signed

    async def close(self) -> None:
        """Close all connections."""
        await self.queues.close()
        await self.authority.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolRequest:
    """An authenticated request to a pool, not yet admitted."""

    gateway: Gateway
    caller: Caller
    pool: PoolRef
    token: str | None = field(repr=False)  # kept during the request, for rechecks
    client: str  # address
    url: str = ""  # of the pool, as the caller reaches it; empty: not over HTTP

    async def admit(self, verb: Verb) -> Admission:
        """Admit a caller with the verb to the pool's queue. Raises ProblemError (403) or UnknownPoolError."""
        await self.gateway.authority.check(self.caller, verb, self.pool)
        return Admission(request=self, verb=verb, queue=await self.gateway.queues.of(self.pool))

    async def may(self, verb: Verb) -> bool:
        """Return whether the caller holds the verb."""
        return await _holds(self.gateway.authority, self.caller, verb, self.pool)

    async def read_message(self, request: Request) -> Json:
        """Return a body that names what it asks for. Refuses a caller without any verb first, whatever the body is."""
        try:
            message, _ = await json_body(request, self.gateway.settings)
        except AgentPoolError:
            await self.check_any()
            raise
        return message

    async def check_any(self) -> Verb:
        """Return a verb that the caller holds. Raises ProblemError (403) for a caller without any."""
        for verb in Verb:
            if await self.may(verb):
                return verb
        raise forbidden(self.caller, Verb.READ, self.pool)


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Admission of a request to a pool's queue."""

    request: PoolRequest
    verb: Verb  # verb of the admission
    queue: PoolQueue

    @property
    def gateway(self) -> Gateway:
        """Return the gateway of the request."""
        return self.request.gateway

    @property
    def pool(self) -> PoolRef:
        """Return the pool of the request."""
        return self.request.pool

    async def may_read(self) -> bool:
        """Return whether the caller may see jobs and results; without `read` a submitter gets receipts only."""
        return self.verb is Verb.READ or await self.request.may(Verb.READ)


async def holds_any(authority: Authority, caller: Caller, pool: PoolRef) -> bool:
    """Return whether the caller holds any verb of a pool, and so may know that the pool exists."""
    for verb in Verb:
        if await _holds(authority, caller, verb, pool):
            return True
    return False


async def _holds(authority: Authority, caller: Caller, verb: Verb, pool: PoolRef) -> bool:
    try:
        await authority.check(caller, verb, pool)
    except ProblemError as refusal:
        if refusal.status is not HTTPStatus.FORBIDDEN:
            raise
        return False
    return True


def gateway_of(request: Request) -> Gateway:
    """Return the gateway that serves a request."""
    return cast("Gateway", request.app.state.gateway)


async def guard(request: Request) -> None:
    """Admit a request according to the table, before its handler runs. Raises ProblemError: 401, 403 or 429."""
    route: Any = request.scope.get("route")
    need = table.need_of(request.method, getattr(route, "path", ""))
    if need is None:
        raise _unlisted_route(request)
    if need is Rule.PUBLIC:
        return
    gateway, token = gateway_of(request), _token_of(request)
    client = request.client.host if request.client else ""
    caller = await gateway.authority.caller(token, client=client)
    request.scope["caller"] = caller.name
    gateway.rate.check(caller)
    await _admit(request, need, caller, token, client)
    check_query(request)
    request.state.admitted = True  # the handler begins: the effect of a later failure may be unknown


async def _admit(request: Request, need: Verb | Rule, caller: Caller, token: str | None, client: str) -> None:
    """Store the parameter of the handler in the request: caller, pool request or admission."""
    if need is Rule.KNOWN:
        request.state.caller = caller
        return
    names = request.path_params
    pool = PoolRef(names["namespace"], names["pool"])
    before, path, _ = str(request.url).partition(f"/v1/namespaces/{pool.namespace}/pools/{pool.name}")
    pool_request = PoolRequest(
        gateway=gateway_of(request), caller=caller, pool=pool, token=token, client=client, url=before + path
    )
    request.state.pool_request = pool_request
    if need is Rule.ANY_VERB:
        request.state.admission = await pool_request.admit(await pool_request.check_any())
    if isinstance(need, Verb):
        request.state.admission = await pool_request.admit(need)


def _token_of(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == SCHEME else None


def _unlisted_route(request: Request) -> ProblemError:
    return ProblemError(
        HTTPStatus.FORBIDDEN,
        "unlisted-route",
        f"{request.method} {request.url.path[:200]!r} has no row in the gateway's table of permissions",
        remedy="report it as a bug of the gateway",
    )


async def _pool_request(request: Request, namespace: str, pool: str) -> PoolRequest:
    del namespace, pool  # parameters of the path, named for the API's description; `guard` has read them
    return cast("PoolRequest", request.state.pool_request)


async def _admission(request: Request, namespace: str, pool: str) -> Admission:
    del namespace, pool
    return cast("Admission", request.state.admission)


async def _known(request: Request) -> Caller:
    return cast("Caller", request.state.caller)


Admitted: TypeAlias = Annotated[Admission, Depends(_admission)]
Authenticated: TypeAlias = Annotated[PoolRequest, Depends(_pool_request)]
Known: TypeAlias = Annotated[Caller, Depends(_known)]
