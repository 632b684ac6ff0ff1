"""The gateway's app: routers, errors as problems, and resources to close at the end.

`commands` serves it with uvicorn.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI

from agentpool.cluster import Cluster
from agentpool_gateway import (
    a2a,
    events_api,
    health,
    jobs_api,
    openapi,
    pages,
    pools_api,
    problems,
    queue_api,
    scaling_api,
)
from agentpool_gateway.access import table
from agentpool_gateway.access.authority import Authority, Everybody
from agentpool_gateway.access.rate import RateLimit
from agentpool_gateway.addresses import Names, Proxies
from agentpool_gateway.declarations import Declarations
from agentpool_gateway.draining import Draining
from agentpool_gateway.entry import Gateway, guard
from agentpool_gateway.intake import Intake
from agentpool_gateway.locations import Locations
from agentpool_gateway.metrics import Metrics
from agentpool_gateway.queues import Queues
from agentpool_gateway.settings import GatewaySettings
from agentpool_gateway.wrapping import Wrapping

log = logging.getLogger(__name__)
DESCRIPTION = "Queue, slots and just enough workers for AI agents. Errors are RFC 9457 problems, each with its remedy."
ROOMS = (jobs_api, queue_api, scaling_api, events_api, a2a, pools_api, health)


def build(
    settings: GatewaySettings, locations: Locations, authority: Authority, cluster: Cluster | None = None
) -> FastAPI:
    """Return the app, which opens connections on demand and closes them at the end, except the cluster's."""
    gateway = Gateway(
        settings=settings,
        authority=authority,
        rate=RateLimit(per_s=settings.rate_per_s, burst=settings.rate_burst),
        queues=Queues(locations, settings),
        declarations=Declarations(cluster),
        metrics=Metrics(),
        draining=Draining(),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if (fault := await health.fault(gateway.queues)) is not None:
            log.warning("%s; until it can be used, /readyz and requests are answered 503", fault)
        yield
        await gateway.close()

    app = FastAPI(
        title="AgentPool gateway",
        version=version("agentpool"),
        description=DESCRIPTION,
        lifespan=lifespan,
        dependencies=[Depends(guard)],  # of every route, independent of its handler
        docs_url=None,  # FastAPI's own pages load scripts from other hosts; `pages` has ours
        redoc_url=None,
    )
    app.state.gateway = gateway
    problems.install(app)
    for room in ROOMS:
        app.include_router(room.router)
    pages.install(app)
    table.verify([*app.routes, *(route for room in ROOMS for route in room.router.routes)])
    openapi.described(app)
    app.add_middleware(
        Intake,
        names=own_names(settings) if isinstance(authority, Everybody) else None,
        proxies=Proxies(settings.trusted_proxies),
        external=settings.external_url,
    )
    app.add_middleware(Wrapping, metrics=gateway.metrics, draining=gateway.draining)
    return app


def own_names(settings: GatewaySettings) -> Names:
    """Return the host names to which a gateway without authentication answers."""
    external = settings.external_url
    return Names((*settings.allowed_hosts, *([external.name] if external else [])))
