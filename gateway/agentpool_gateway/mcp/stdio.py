"""MCP over standard input and output, for an agent program on the same machine: `agentpool mcp`.

There is no gateway between: the program has the rights of the Redis URL, or reads only. The SDK keeps every other
output away from standard output.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mcp.server.stdio import stdio_server

from agentpool_gateway.access.admission import Gateway, PoolRequest
from agentpool_gateway.access.authority import AllowAll, Caller, ReadOnly
from agentpool_gateway.access.rate import RateLimit
from agentpool_gateway.delivery.deliveries import Deliveries
from agentpool_gateway.http.draining import Draining
from agentpool_gateway.mcp.server import build_server
from agentpool_gateway.metrics import Metrics
from agentpool_gateway.overview import Overview
from agentpool_gateway.pools.locations import OneAddress
from agentpool_gateway.pools.pool_resources import PoolResources
from agentpool_gateway.pools.queues import Queues
from agentpool_gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from agentpool_core.jobs import PoolRef
    from agentpool_core.redis_address import Address


async def serve_stdio(pool: PoolRef, address: Address, *, read_only: bool) -> None:
    """Serve a pool until the input ends. Raises UnknownPoolError, or the error that prevents access."""
    settings = GatewaySettings()
    queues, resources, metrics = Queues(OneAddress(pool, address), settings), PoolResources(None), Metrics()
    gateway = Gateway(
        settings=settings,
        authority=ReadOnly() if read_only else AllowAll(),
        rate=RateLimit(per_s=0, burst=settings.rate_burst),
        queues=queues,
        pool_resources=resources,
        overview=Overview(queues, resources),
        metrics=metrics,
        draining=Draining(),
        deliveries=Deliveries(settings=settings, queues=queues, metrics=metrics, formats={}, keys=None),
    )
    caller = Caller(name="stdio", key="stdio")
    request = PoolRequest(gateway=gateway, caller=caller, pool=pool, token=None, client="")
    try:
        await gateway.queues.of(pool)  # a wrong name is an error at once
        server = build_server(lambda _context: request)
        async with stdio_server() as (messages, answers):
            await server.run(messages, answers, server.create_initialization_options())
    finally:
        await asyncio.shield(gateway.close())
