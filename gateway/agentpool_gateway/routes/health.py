"""`/healthz` and `/readyz`, for probes; without a token, because the answers name no pool."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from agentpool_core.errors import QueueError
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.redacted_url import mask_url
from agentpool_core.redis_address import Address
from agentpool_gateway import openapi
from agentpool_gateway.access.admission import gateway_of
from agentpool_gateway.pools.queues import Queues

router = APIRouter(tags=["health"])
PING_SECONDS = 2.0  # a Redis that takes longer is not ready


@router.get("/healthz", response_class=PlainTextResponse, responses=openapi.PROBE)
async def healthz() -> str:
    """Answer while the event loop runs."""
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse, responses=openapi.PROBE)
async def readyz(request: Request) -> PlainTextResponse:
    """Report whether the gateway's own Redis, if any, is usable, and the gateway is not draining.

    The kubelet asks with `?draining=ready`: an ending pod is no endpoint any more, and a failed probe would add a
    warning to each usual end.
    """
    gateway = gateway_of(request)
    if gateway.draining.begun and request.query_params.get("draining") != "ready":
        return PlainTextResponse("stopping\n", status_code=HTTPStatus.SERVICE_UNAVAILABLE)
    if await find_fault(gateway.queues) is not None:
        return PlainTextResponse("Redis cannot be used\n", status_code=HTTPStatus.SERVICE_UNAVAILABLE)
    return PlainTextResponse("ok\n")


async def find_fault(queues: Queues) -> str | None:
    """Return the problem of the gateway's own Redis, for the log; None without a problem or without a Redis."""
    url = queues.locations.fixed
    if url is None:
        return None
    try:
        async with asyncio.timeout(PING_SECONDS):
            await ask(queues.redis(Address(url=url)), "PING")
    except TimeoutError:
        return f"{mask_url(url)}: Redis did not answer within {PING_SECONDS:g} s"
    except QueueError as error:
        return f"{mask_url(url)}: {error}"
    return None
