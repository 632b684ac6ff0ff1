"""The gateway's app: routers, errors as problems, and resources to close at the end.

`commands` serves it with uvicorn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from agentpool_core import DISTRIBUTION
from agentpool_core.kube.client import Cluster
from agentpool_core.process.cancellation import end
from agentpool_core.queue.webhooks import CLOUDEVENTS
from agentpool_gateway import description, openapi
from agentpool_gateway.a2a import discovery, jsonrpc, push, rest
from agentpool_gateway.access import table
from agentpool_gateway.access.admission import Gateway, guard
from agentpool_gateway.access.authority import AllowAll, Authority
from agentpool_gateway.access.rate import RateLimit
from agentpool_gateway.addresses import AllowedHosts, TrustedProxies
from agentpool_gateway.card_signing import CardSigner
from agentpool_gateway.delivery.cloudevents import write_cloudevent
from agentpool_gateway.delivery.deliveries import Deliveries, Format
from agentpool_gateway.delivery.signing import SigningKeys
from agentpool_gateway.http import problems
from agentpool_gateway.http.draining import Draining
from agentpool_gateway.http.head import Head
from agentpool_gateway.http.intake import Intake
from agentpool_gateway.http.middleware import RequestMiddleware
from agentpool_gateway.mcp import endpoint
from agentpool_gateway.mcp.endpoint import serve_mcp
from agentpool_gateway.metrics import Metrics
from agentpool_gateway.overview import Overview
from agentpool_gateway.pools.locations import Locations
from agentpool_gateway.pools.pool_resources import PoolResources
from agentpool_gateway.pools.queues import Queues
from agentpool_gateway.routes import (
    events,
    health,
    jobs,
    kinds,
    pages,
    pools,
    queue,
    scaling,
    schedules,
    selection,
    usage,
    webhooks,
    workers,
)
from agentpool_gateway.settings import GatewaySettings

LEAST_COMPRESSED_BYTES = 1_024  # of an answer; a smaller one gains nothing
log = logging.getLogger(__name__)
DESCRIPTION = "Queue, slots and just enough workers for AI agents. Errors are RFC 9457 problems, each with its remedy."
FORMATS: dict[str, Format] = {CLOUDEVENTS: write_cloudevent, push.FORMAT: push.write_push}  # of messages to webhooks
ROUTES = (
    jobs,
    selection,
    webhooks,
    kinds,
    schedules,
    queue,
    workers,
    scaling,
    usage,
    events,
    discovery,
    jsonrpc,
    rest,
    endpoint,
    pools,
    health,
)


def build(
    settings: GatewaySettings, locations: Locations, authority: Authority, cluster: Cluster | None = None
) -> FastAPI:
    """Return the app, which opens connections on demand and closes them at the end, except the cluster's."""
    gateway = _gateway(settings, locations, authority, cluster)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if (fault := await health.find_fault(gateway.queues)) is not None:
            log.warning("%s; until then, /readyz and requests are answered with 503", fault)
        delivering = asyncio.create_task(gateway.deliveries.run(), name="webhooks")
        async with serve_mcp(app, settings):
            yield
        await end(delivering)
        await gateway.close()

    app = _bare_app(lifespan)
    app.state.gateway = gateway
    problems.install(app, methods_at=table.methods_at)
    for module in ROUTES:
        app.include_router(module.router)
    pages.install(app)
    table.verify([*app.routes, *(route for module in ROUTES for route in module.router.routes)])
    description.complete(app)
    _add_middleware(app, gateway, names=own_hosts(settings) if isinstance(authority, AllowAll) else None)
    return app


def _bare_app(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    return FastAPI(
        title="AgentPool gateway",
        version=version(DISTRIBUTION),
        description=DESCRIPTION,
        lifespan=lifespan,
        dependencies=[Depends(guard)],  # of every route, independent of its handler
        docs_url=None,  # FastAPI's own pages load scripts from other hosts; `pages` has ours
        redoc_url=None,
        generate_unique_id_function=description.operation_id,
        openapi_tags=description.TAGS,
        license_info=description.LICENCE,
        contact=description.CONTACT,
        servers=description.SERVERS,
    )


def _add_middleware(app: FastAPI, gateway: Gateway, *, names: AllowedHosts | None) -> None:
    """Wrap the app; the last middleware is the outermost. `names`: accepted hosts; None: any."""
    settings = gateway.settings
    app.add_middleware(
        Intake,
        names=names,
        proxies=TrustedProxies(settings.trusted_proxies),
        external=settings.external_url,
    )
    app.add_middleware(GZipMiddleware, minimum_size=LEAST_COMPRESSED_BYTES)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **openapi.CORS, allow_origins=settings.cors_origins)
    app.add_middleware(Head)
    app.add_middleware(RequestMiddleware, metrics=gateway.metrics, draining=gateway.draining)


def _gateway(settings: GatewaySettings, locations: Locations, authority: Authority, cluster: Cluster | None) -> Gateway:
    queues, resources, metrics = Queues(locations, settings), PoolResources(cluster), Metrics()
    keys = SigningKeys.read(settings.webhook_keys) if settings.webhook_keys else None
    return Gateway(
        settings=settings,
        authority=authority,
        rate=RateLimit(per_s=settings.rate_per_s, burst=settings.rate_burst),
        queues=queues,
        pool_resources=resources,
        overview=Overview(queues, resources),
        metrics=metrics,
        draining=Draining(),
        deliveries=Deliveries(settings=settings, queues=queues, metrics=metrics, formats=FORMATS, keys=keys),
        card_signer=CardSigner.read(settings.a2a_card_key) if settings.a2a_card_key else None,
    )


def own_hosts(settings: GatewaySettings) -> AllowedHosts:
    """Return the host names to which a gateway without authentication answers."""
    external = settings.external_url
    return AllowedHosts((*settings.allowed_hosts, *([external.name] if external else [])))
