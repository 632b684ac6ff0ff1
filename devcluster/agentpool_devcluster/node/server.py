"""The node's HTTP endpoint, like a kubelet's: the API server fetches logs here.

`/containerLogs/{namespace}/{pod}/{container}` with follow, tailLines, sinceSeconds, sinceTime, timestamps, limitBytes
and previous; `/healthz`. Commands in containers and port forwarding are refused by name.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from aiohttp import web

from agentpool_devcluster.kube.objects import ObjectKey
from agentpool_devcluster.node.log_file import LogQuery, follow_log, log_path, read_log
from agentpool_devcluster.node.pod_runner import PodRunner

if TYPE_CHECKING:
    from pathlib import Path

Finder = Callable[[ObjectKey], PodRunner | None]
"""The runner of a pod on this node; None where it has no such pod."""


class NodeServer:
    """Serves a node's endpoint."""

    def __init__(self, find: Finder) -> None:
        self._find = find
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        for refused in ("exec", "attach", "portForward", "run"):
            app.router.add_route("*", f"/{refused}/{{rest:.*}}", self._refuse)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self.port = 0

    async def start(self, address: str, certificate: Path | None = None) -> int:
        """Listen on a free port of `address`; return the port.

        `certificate` is a PEM file with a key, because a Kubernetes API server requires TLS; None is plain HTTP. Raises
        OSError.
        """
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, 0, ssl_context=context)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self.port

    async def stop(self) -> None:
        """Close the endpoint and every log that is being followed."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _refuse(self, request: web.Request) -> web.Response:
        what = request.path.split("/")[1]
        return web.Response(
            status=501, text=f"{what} is not supported by this node; its containers are local processes"
        )

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        info = request.match_info
        runner = self._find(ObjectKey(info["namespace"], info["pod"]))
        if runner is None:
            return web.Response(status=404, text=f'pod "{info["pod"]}" is not on this node')
        name = info["container"]
        record = next((one for one in [*runner.containers.init, *runner.containers.main] if one.name == name), None)
        if record is None:
            return web.Response(status=404, text=f"container {name} is not valid for pod {info['pod']}")
        path = _chosen_log(runner, name, record.restarts, previous=_flag(request, "previous"))
        if path is None:
            kind = "previous terminated container" if _flag(request, "previous") else "container"
            text = (
                f'{kind} "{name}" in pod "{info["pod"]}" not found'
                if _flag(request, "previous")
                else (f'container "{name}" in pod "{info["pod"]}" is waiting to start: {_reason(record)}')
            )
            return web.Response(status=400, text=text)
        try:
            query = _query(request)
        except ValueError as error:
            return web.Response(status=400, text=f"the query cannot be read: {error}")
        if not _flag(request, "follow"):
            return web.Response(body=read_log(path, query), content_type="text/plain")
        return await self._follow(request, runner, name, path, query)

    async def _follow(
        self, request: web.Request, runner: PodRunner, name: str, path: Path, query: LogQuery
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        async for text in follow_log(path, query, runner.containers.runners[name].run_ended):
            await response.write(text)
        await response.write_eof()
        return response


def _chosen_log(runner: PodRunner, name: str, restarts: int, *, previous: bool) -> Path | None:
    """Return the log of the present or the previous run, or None."""
    run = restarts - 1 if previous else restarts
    path = log_path(runner.surroundings.logs, name, run)
    return path if run >= 0 and path.exists() else None


def _reason(record: object) -> str:
    return str(getattr(getattr(record, "state", None), "reason", "ContainerCreating"))


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() in {"true", "1"}


def _query(request: web.Request) -> LogQuery:
    def number(name: str) -> int | None:
        text = request.query.get(name)
        return None if text is None else int(text)

    since = LogQuery.since_seconds(number("sinceSeconds"))
    if since is None and request.query.get("sinceTime"):
        since = datetime.fromisoformat(request.query["sinceTime"])
    return LogQuery(
        tail_lines=number("tailLines"),
        since=since,
        timestamps=_flag(request, "timestamps"),
        limit_bytes=number("limitBytes"),
    )
