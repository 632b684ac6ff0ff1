"""The gateway on a machine of its own: its ASGI app, called without a server in between.

The app is built once for all schedules, because that takes longer than a schedule; its state is new in each.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx

from agentpool_core.errors import AgentPoolError, UnknownJobError
from agentpool_gateway.access.authority import AllowAll
from agentpool_gateway.app import _gateway, build
from agentpool_gateway.pools.locations import SingleRedis
from agentpool_gateway.settings import GatewaySettings
from tests.judge.histories import ENDS
from tests.simulation.fleet import URL

if TYPE_CHECKING:
    from fastapi import FastAPI

    from agentpool_core.jobs import PoolRef
    from tests.simulation.virtual_loop import Machine

PATIENCE_SECONDS = 30.0  # of a caller, for an answer
POLL = "10s"
SETTINGS = GatewaySettings()


class RefusedError(AgentPoolError):
    """The gateway refused a request."""


class NoAnswerError(Exception):
    """The gateway did not answer in time, or had no answer from Redis."""


@cache
def _app() -> FastAPI:
    app = build(SETTINGS, SingleRedis(URL), AllowAll())
    app.openapi()  # the first request would ask for it
    return app


class Front:
    """A gateway of one schedule."""

    def __init__(self, machine: Machine, pool: PoolRef) -> None:
        self._machine = machine
        self._jobs = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/jobs"
        self._gateway = _app().state.gateway = _gateway(SETTINGS, SingleRedis(URL), AllowAll(), None)
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(_app()), base_url="http://localhost")

    async def submit(self, job: dict[str, Any]) -> dict[str, Any]:
        """Submit a job; return the receipt. Raises NoAnswerError, after which the outcome is unknown."""
        return await self._ask("POST", self._jobs, json=job)

    async def result(self, job_id: str) -> dict[str, Any]:
        """Return the end of a job, however long it takes."""
        while True:
            try:
                found = await self._ask("GET", f"{self._jobs}/{job_id}/result", params={"wait": POLL})
            except NoAnswerError:
                await asyncio.sleep(1.0)
                continue
            if found["state"] in ENDS:
                return found

    async def close(self) -> None:
        """End the gateway's connections."""
        await self._http.aclose()
        await self._gateway.close()

    async def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        call = self._machine.start(self._http.request(method, path, **options))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await asyncio.shield(call)
        except TimeoutError:
            raise NoAnswerError("no answer") from None
        found: dict[str, Any] = answer.json()
        if answer.status_code >= 500:
            raise NoAnswerError(found["detail"])
        if answer.status_code >= 400:
            raise UnknownJobError("the pool", path) if answer.status_code == 404 else RefusedError(found["detail"])
        return found
