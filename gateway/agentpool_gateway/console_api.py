"""The console's files, and the list of pools that it begins with.

Static, without a build step; the policy lets the page run its own files only, and speak to this gateway only.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from agentpool.jobs import PoolRef
from agentpool_gateway import openapi
from agentpool_gateway.access.authority import Caller, Verb
from agentpool_gateway.entry import Gateway, caller_of, gateway_of
from agentpool_gateway.problems import ProblemError

FILES = Path(__file__).parent / "console"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
router = APIRouter(tags=["pools"])


class ConsoleFiles(StaticFiles):
    """The files, under the console's policy."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file."""
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = "no-cache"
        return response


def install(app: FastAPI) -> None:
    """Serves the console at `/console/`, and leads there from `/`."""
    app.mount("/console", ConsoleFiles(directory=FILES, html=True))

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/console/", status_code=HTTPStatus.TEMPORARY_REDIRECT)


@router.get("/v1/pools", responses=openapi.READ_POOLS)
async def pools(request: Request) -> JSONResponse:
    """The pools that the caller may read, as namespace/name."""
    gateway = gateway_of(request)
    caller = await caller_of(request)
    found = await gateway.queues.names()
    allowed = await asyncio.gather(*(_may_read(gateway, caller, pool) for pool in found))
    return JSONResponse({"pools": [str(pool) for pool, may in zip(found, allowed, strict=True) if may]})


async def _may_read(gateway: Gateway, caller: Caller, pool: PoolRef) -> bool:
    try:
        await gateway.authority.check(caller, Verb.READ, pool)
    except ProblemError:
        return False
    return True
