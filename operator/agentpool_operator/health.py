"""`/healthz`, `/readyz`, `/metrics` and the runbooks of the alerts over HTTP.

Healthy: the scaling loop has made a pass lately. Ready: the API server answers this process. A failed probe answers
with the reason.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from agentpool_core import runbooks
from agentpool_core.errors import SettingError
from agentpool_core.start import listener_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_operator.metrics import Metrics

START_SECONDS = 4.0  # for the first answer of the API server; shorter than the timeout of a probe
POLL_SECONDS = 0.05
STALLED_SECONDS = 60.0  # without a pass of the scaling loop: longer than any pass may take


class Health:
    """The HTTP endpoints."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        last_pass_at: Callable[[], float],
        ready: Callable[[], bool],
        refresh: Callable[[], None],
    ) -> None:
        self._metrics = metrics
        self._last_pass_at = last_pass_at
        self._ready = ready
        self._refresh = refresh
        self._runner: web.AppRunner | None = None
        self._patient_until = 0.0  # seconds, monotonic

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which may have been 0. Raises SettingError if the port cannot be opened."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)
        app.router.add_get(runbooks.PATH, _runbooks_page)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            site = web.SockSite(self._runner, listener_at(host, port))
        except OSError as error:
            await self._runner.cleanup()
            raise SettingError(
                field="--health-port",
                value=port,
                problem=f"cannot be listened on: {error.strerror or error}",
                remedy="choose a free port, or 0 for any",
            ) from error
        self._patient_until = time.monotonic() + START_SECONDS
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        silent_s = time.monotonic() - self._last_pass_at()
        if silent_s > STALLED_SECONDS:
            return web.Response(status=503, text=f"the scaling loop has made no pass for {silent_s:.0f} s\n")
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        """Answer at once; at the start, wait a moment for the API, because a failed probe is a warning."""
        until = self._patient_until
        while not self._ready() and time.monotonic() < until:  # noqa: ASYNC110 - set by the thread of the watches
            await asyncio.sleep(POLL_SECONDS)
        if not self._ready():
            return web.Response(status=503, text="the Kubernetes API has not answered yet\n")
        return web.Response(text="ok\n")

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        self._refresh()
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _runbooks_page(_request: web.Request) -> web.Response:
    return web.Response(text=runbooks.runbooks_page(), content_type="text/html")
