"""How every request comes in: the token, the rate, the pool's name, the permission, and only then the queue.

A handler asks for `Entry`, made for the verb that it needs. Nothing about a pool is looked up for who may not see it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Request

from agentpool.jobs import PoolRef
from agentpool_gateway.access.authority import Authority, Caller, Verb
from agentpool_gateway.access.rate import RateLimit
from agentpool_gateway.declarations import Declarations
from agentpool_gateway.metrics import Metrics
from agentpool_gateway.queues import PoolQueue, Queues
from agentpool_gateway.settings import GatewaySettings

SCHEME = "bearer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """What all requests share; it hangs at the app's state."""

    settings: GatewaySettings
    authority: Authority
    rate: RateLimit
    queues: Queues
    declarations: Declarations
    metrics: Metrics

    async def close(self) -> None:
        """Closes connections."""
        await self.queues.close()
        await self.authority.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One admitted request."""

    gateway: Gateway
    caller: Caller
    queue: PoolQueue

    @property
    def pool(self) -> PoolRef:
        """The pool that it is about."""
        return self.queue.pool


def gateway_of(request: Request) -> Gateway:
    """The gateway that serves a request."""
    return cast("Gateway", request.app.state.gateway)


async def caller_of(request: Request) -> Caller:
    """Who calls. Raises ProblemError: 401, or 429 above the caller's rate."""
    gateway = gateway_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    caller = await gateway.authority.caller(token.strip() if scheme.lower() == SCHEME else None)
    request.scope["caller"] = caller.name
    gateway.rate.check(caller)
    return caller


def _admission(verb: Verb) -> Callable[..., Awaitable[Entry]]:
    async def admit(request: Request, namespace: str, pool: str) -> Entry:
        caller = await caller_of(request)
        named = PoolRef(namespace, pool)
        gateway = gateway_of(request)
        await gateway.authority.check(caller, verb, named)
        return Entry(gateway=gateway, caller=caller, queue=await gateway.queues.of(named))

    return admit


Reading: TypeAlias = Annotated[Entry, Depends(_admission(Verb.READ))]
Submitting: TypeAlias = Annotated[Entry, Depends(_admission(Verb.SUBMIT))]
Managing: TypeAlias = Annotated[Entry, Depends(_admission(Verb.MANAGE))]
Configuring: TypeAlias = Annotated[Entry, Depends(_admission(Verb.CONFIGURE))]
