"""`/healthz`, `/readyz` and `/metrics`: for probes and Prometheus, without a token; they name no pool's content."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from redis.exceptions import RedisError

from agentpool_gateway.entry import gateway_of

router = APIRouter(tags=["health"])
PING_S = 2.0  # a Redis that takes longer is not ready
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """The event loop turns."""
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse)
async def readyz(request: Request) -> PlainTextResponse:
    """Redis answers, where the gateway has one of its own."""
    queues = gateway_of(request).queues
    url = queues.locations.fixed
    try:
        if url is not None:
            async with asyncio.timeout(PING_S):
                await queues.redis(url).ping()
    except (RedisError, OSError, TimeoutError):
        return PlainTextResponse("Redis does not answer\n", status_code=HTTPStatus.SERVICE_UNAVAILABLE)
    return PlainTextResponse("ok\n")


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(gateway_of(request).metrics.text(), media_type=EXPOSITION)
