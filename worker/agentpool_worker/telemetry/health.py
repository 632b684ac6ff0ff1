"""Probes and metrics: /healthz, /readyz, /metrics; and /drained, which answers after the end of the last job.

Served from the side loop, so they answer while a handler blocks the jobs' loop. Liveness fails only if a restart is the
remedy: the jobs' loop has been blocked for so long that the lease was given up. Readiness fails while the worker takes
no jobs: before the registration, while Redis does not answer, and during a drain. When a pod ends, all its containers
get SIGTERM at once; /drained is the preStop hook of the worker's neighbours, which its jobs still need. The kubelet
asks /readyz?draining=ready, which does not fail for a worker that was asked to leave: an ending pod gets no traffic in
any case, and each failed probe is a warning to the user. For the same reason an ending server first answers the
connections that it has accepted. Later connections wait in the socket's backlog, for
`agentpool_worker.supervision.supervisor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from agentpool_core.errors import SettingError
from agentpool_core.process.sockets import authority, listening_socket
from agentpool_worker.supervision import lifeline

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from agentpool_worker.telemetry.metrics import WorkerMetrics

_LEAVING_SECONDS = 5.0  # for the worker to begin to leave; else only the container that asks is to end
_DRAINED_POLL_SECONDS = 0.1
_LAST_ANSWERS_SECONDS = 0.5  # for the requests on accepted connections, after the end of listening
_LAST_ANSWERS_POLL_SECONDS = 0.01

log = logging.getLogger(__name__)

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Probes:
    """Sources of the probes. Each returns None if healthy, else the reason."""

    stuck: Callable[[], str | None]
    unready: Callable[[], str | None]
    staying: Callable[[], str | None]  # the reason: the worker does not leave
    busy: Callable[[], str | None]  # the reason: jobs run


class HealthServer:
    """A small HTTP server."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        probes: Probes,
        metrics: WorkerMetrics | None,
        listening: socket.socket | None = None,
    ) -> None:
        self._listening = listening  # None: opened at host and port
        self._host = host
        self._asked_port = port
        self._probes = probes
        self._metrics = metrics
        self.port: int | None = None  # the port in use; None until listening
        self._informed = asyncio.Semaphore(0)  # counts the neighbours that learned of the end of the last job

    async def run(self) -> None:
        """Serve until cancelled; runs in the side loop. Raises SettingError if the port cannot be opened."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._exposition)
        app.router.add_get("/drained", self._drained)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = await self._listen(runner)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await site.stop()
                await _answer_accepted(runner)
        finally:
            await runner.cleanup()

    async def wait_for_neighbours(self, count: int, *, within_seconds: float) -> None:
        """Wait until so many neighbours have got the answer of /drained, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                for _ in range(count):
                    await self._informed.acquire()

    async def _listen(self, runner: web.AppRunner) -> web.SockSite:
        try:
            # A copy: the site closes the socket, and probes wait at the open socket for the next server.
            opened = (
                listening_socket(self._host, self._asked_port) if self._listening is None else self._listening.dup()
            )
            site = web.SockSite(runner, opened)
        except OSError as error:
            raise SettingError(
                field="AGENTPOOL_HTTP_PORT (--http-port)",
                value=authority(self._host, self._asked_port),
                problem=f"cannot listen there: {error.strerror or error}",
                remedy="choose another port, or 0 for any free one",
            ) from error
        try:
            await site.start()
        except BaseException:  # cancelled, too: the cleanup of the runner closes only a socket that was started
            opened.close()
            raise
        self.port = runner.addresses[0][1]
        log.info("probes and metrics at http://%s", authority(self._host, self.port), extra={"http_port": self.port})
        return site

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(self._probes.stuck())

    async def _readyz(self, request: web.Request) -> web.Response:
        if request.query.get("draining") == "ready":
            lifeline.note_probe()
            if self._probes.staying() is None:
                return web.Response(text="draining\n")
        return _answer(self._probes.unready())

    async def _drained(self, _request: web.Request) -> web.Response:
        give_up_at = time.monotonic() + _LEAVING_SECONDS
        while True:
            if staying := self._probes.staying():
                if time.monotonic() > give_up_at:
                    return web.Response(text=f"{staying}\n")
            elif self._probes.busy() is None:
                self._informed.release()
                return web.Response(text="drained\n")
            await asyncio.sleep(_DRAINED_POLL_SECONDS)

    async def _exposition(self, _request: web.Request) -> web.Response:
        if self._metrics is None:
            return _answer(self._probes.unready() or "no metrics yet")
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": _TEXT})


async def _answer_accepted(runner: web.AppRunner) -> None:
    """Wait a moment until every accepted connection has got its answer; kept-alive connections are not waited for."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_ANSWERS_SECONDS):
            while True:
                await asyncio.sleep(_LAST_ANSWERS_POLL_SECONDS)
                if not runner.server or not runner.server.connections:
                    return


def _answer(reason: str | None) -> web.Response:
    return web.Response(text="ok\n") if reason is None else web.Response(status=503, text=f"{reason}\n")
