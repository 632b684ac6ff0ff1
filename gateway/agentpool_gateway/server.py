"""Serving: the app's connections, and uvicorn on the sockets of `listeners`.

After SIGTERM requests are served for a while (`draining`); then streams end, to resume elsewhere by their last id, and
open requests have `STOP_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from types import FrameType
from typing import Literal

import click
import uvicorn
from starlette.types import ASGIApp

from agentpool_core.errors import SettingError
from agentpool_core.kube.client import Cluster
from agentpool_core.kube.connection import open_cluster
from agentpool_core.process import logs
from agentpool_core.process.sockets import authority
from agentpool_gateway.access.authority import AllowAll, Authority
from agentpool_gateway.access.reviews import KubernetesReviews
from agentpool_gateway.access.static_tokens import StaticTokens
from agentpool_gateway.addresses import TrustedProxies
from agentpool_gateway.app import build, own_hosts
from agentpool_gateway.http.draining import Draining
from agentpool_gateway.http.header_timeout import protocol
from agentpool_gateway.http.intake import Intake
from agentpool_gateway.options import GatewayOptions
from agentpool_gateway.pools.locations import DeclaredRedis, Locations, SingleRedis
from agentpool_gateway.settings import GatewaySettings

log = logging.getLogger(__name__)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP_SECONDS = 10  # for requests in flight
IDLE_SECONDS = 30  # a kept-alive connection without requests


class OrderlyServer(uvicorn.Server):
    """A server that ends in order on a signal; uvicorn would raise the signal again and die from it.

    After SIGTERM it serves for `drain_s`; SIGINT, and a second signal, end it at once.
    """

    def __init__(self, config: uvicorn.Config, draining: Draining, *, drain_s: float) -> None:
        super().__init__(config)
        self._draining = draining
        self._drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or end."""
        if sig == signal.SIGTERM and not self._draining.begun and self._drain_s > 0:
            log.info("stopping: not ready; requests are served for %g s more", self._drain_s)
            self._draining.begin()
            asyncio.get_running_loop().call_later(self._drain_s, self.handle_exit, sig, frame)
            return
        self._draining.close()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT while serving."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)


class SideServer(uvicorn.Server):
    """A server beside the main server, which handles the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def serve(options: GatewayOptions, listener: socket.socket, beside: socket.socket | None) -> None:
    """Serve until SIGTERM or SIGINT; the metrics on the socket `beside`, None: no metrics port."""
    logs.configure(form=options.log_format, level=options.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(options, listener, beside))


async def _serve(options: GatewayOptions, listener: socket.socket, beside: socket.socket | None) -> None:
    settings = options.settings()
    async with _parts(options, settings) as (locations, authority, cluster):
        app = build(settings, locations, authority, cluster)
        server = OrderlyServer(uvicorn_config(app, settings), app.state.gateway.draining, drain_s=settings.drain_s)
        click.echo(f"gateway at {_url(listener)}", err=True)
        metrics = Intake(
            app.state.gateway.metrics.app(),
            names=own_hosts(settings) if options.no_auth else None,
            proxies=TrustedProxies(),
            external=None,
        )
        async with _serve_metrics(uvicorn_config(metrics, settings, lifespan="off"), beside):
            await server.serve(sockets=[listener])


@contextlib.asynccontextmanager
async def _serve_metrics(config: uvicorn.Config, listener: socket.socket | None) -> AsyncIterator[None]:
    """Serve the metrics port while the block runs; None: no metrics port."""
    if listener is None:
        yield
        return
    server = SideServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="metrics")
    click.echo(f"metrics at {_url(listener)}/metrics", err=True)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{authority(host, port)}"


def uvicorn_config(
    app: ASGIApp, settings: GatewaySettings, *, stop_s: int = STOP_SECONDS, lifespan: Literal["on", "off"] = "on"
) -> uvicorn.Config:
    """Return uvicorn's configuration: time limits, and no access log, which would contain queries."""
    return uvicorn.Config(
        app,
        http=protocol(settings.header_timeout_s),
        ws="none",  # uvicorn would take WebSockets wherever their package is installed; the pages' files refuse them
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `addresses` believes those of trusted proxies only; uvicorn, those of any local process
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=stop_s,
    )


@contextlib.asynccontextmanager
async def _parts(
    options: GatewayOptions, settings: GatewaySettings
) -> AsyncIterator[tuple[Locations, Authority, Cluster | None]]:
    """Yield the locations of pools, the authority, and the cluster; the connection lasts as long as the block."""
    by_reviews = options.auth == "kubernetes"
    async with contextlib.AsyncExitStack() as stack:
        cluster: Cluster | None = None
        if by_reviews or options.redis is None or options.kubeconfig is not None:
            cluster = await stack.enter_async_context(open_cluster(options.kubeconfig))
        authority = _authority(options, settings, cluster)
        if options.redis is not None:
            yield SingleRedis(options.redis, namespaces=options.namespace), authority, cluster
        elif cluster is not None:
            locations = DeclaredRedis(cluster, cache_s=settings.location_cache_s, namespaces=options.namespace)
            yield locations, authority, cluster


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory if installed; None for Python's own loop."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def _authority(options: GatewayOptions, settings: GatewaySettings, cluster: Cluster | None) -> Authority:
    if options.no_auth:
        return AllowAll()
    if options.auth == "kubernetes" and cluster is not None:
        return KubernetesReviews(cluster, cache_s=settings.review_cache_s, audiences=options.audience)
    if options.tokens is None:
        raise SettingError(field="--tokens", value=None, problem="missing", remedy="pass --tokens FILE")
    return StaticTokens(options.tokens)
