"""Data too large for headers, served to containers of the same pod: the checkpoint and the results of the parents.

A small HTTP server on the loopback address, which a pod's containers share. Each forwarded request names an unguessable
address, which answers as long as the job runs. `agentpool_worker.handlers.http` sends the address in the header
Agentpool-Context.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentpool_worker.context import Context

_HOST = "127.0.0.1"
_KEY_BYTES = 16


class ContextServer:
    """Serves the contexts of the jobs that run."""

    def __init__(self) -> None:
        self._by_key: dict[str, Context] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        """Listens on a free port."""
        app = web.Application()
        app.router.add_get("/jobs/{key}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, 0).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the server."""
        if self._runner is not None:
            await self._runner.cleanup()

    @contextlib.contextmanager
    def address_for(self, ctx: Context) -> Iterator[str]:
        """Yield the job's address, valid while the job runs."""
        key = secrets.token_urlsafe(_KEY_BYTES)
        self._by_key[key] = ctx
        try:
            yield f"http://{_HOST}:{self._port}/jobs/{key}"
        finally:
            del self._by_key[key]

    async def _answer(self, request: web.Request) -> web.Response:
        ctx = self._by_key.get(request.match_info["key"])
        if ctx is None:
            return web.json_response({"error": "this job does not run here any more"}, status=404)
        return web.json_response({"state": ctx.state, "parents": dict(ctx.parents)})
