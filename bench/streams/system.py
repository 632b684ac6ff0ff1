"""The disturbed system of `bench streams`: a gateway and workers that are killed in turn, and readers that resume.

A killed gateway starts again on its port; a worker's supervisor starts the next worker process. A reader resumes with
the id of its last token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil

from agentpool_local.stack.child import Child
from agentpool_local.stack.redis_server import free_port
from bench.stage import POOL
from bench.streams.verdict import Token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from agentpool_core.jobs import JobId
    from bench.stage import Stage

READY_SECONDS = 60.0
PAUSE_SECONDS = 0.05  # of a reader, before it connects again


class Gateway:
    """A gateway process, restarted on its port."""

    def __init__(self, place: Stage) -> None:
        self._place = place
        self._port = free_port()
        self._tokens = place.directory / "tokens.yaml"
        self._child: Child | None = None
        self.token = secrets.token_urlsafe(24)
        self.jobs_url = f"http://127.0.0.1:{self._port}/v1/namespaces/{POOL.namespace}/pools/{POOL.name}/jobs"

    async def start(self) -> None:
        """Start the process, and wait until it answers."""
        self._tokens.write_text(f"tokens:\n- {{name: reader, token: {self.token}}}\n", encoding="utf-8")
        argv = [sys.executable, "-m", "agentpool_core", "gateway", "--redis", self._place.url]
        argv += ["--tokens", str(self._tokens), "--port", str(self._port), "--log-level", "error"]
        sink = lambda _name, line: print(line, file=sys.stderr)  # noqa: E731 - short
        self._child = await Child.start("gateway", argv, cwd=self._place.directory, sink=sink)
        await self._child.until_ready(self._ready, seconds=READY_SECONDS, missing="it does not answer")

    async def stop(self, *, kill: bool = False) -> None:
        """End the process, by SIGKILL or orderly."""
        if self._child is not None:
            if kill:
                self._child.kill()
            await self._child.stop(seconds=5)

    async def _ready(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(self.jobs_url.split("/v1/")[0] + "/readyz") as a:
                return a.ok
        except (aiohttp.ClientError, OSError):
            return False


class Reader:
    """A reader of one job's stream, over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, gateway: Gateway, job_id: JobId) -> None:
        self._session = session
        self._url = f"{gateway.jobs_url}/{job_id}/stream"
        self._last = ""
        self._connected_at = 0.0
        self.tokens: list[Token] = []
        self.breaks = 0  # of the connection

    async def follow(self) -> None:
        """Read until the job has ended, over as many connections as it takes."""
        while True:
            try:
                if await self._read():
                    return
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            self.breaks += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self) -> bool:
        """Read one connection to its end; return whether the job has ended."""
        headers = {"Last-Event-ID": self._last} if self._last else {}
        async with self._session.get(self._url, headers=headers) as answer:
            answer.raise_for_status()
            if answer.status == 204:  # noqa: PLR2004 - the job has ended, and everything was read
                return True
            self._connected_at = time.monotonic()
            message: dict[str, str] = {}
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    message[name] = value
                elif message:
                    if message.get("event") == "end":
                        return True
                    self._take(message)
                    message = {}
        return False

    def _take(self, message: dict[str, str]) -> None:
        if message.get("event") != "chunk":
            return
        chunk: dict[str, Any] = json.loads(message["data"])
        part, place, sent = chunk["value"]
        delay = time.monotonic() - sent
        live = sent >= self._connected_at
        self.tokens.append(
            Token(run=chunk["run"], number=chunk["number"], part=part, place=place, delay_s=delay, live=live)
        )
        self._last = message["id"]


async def kill_in_turn(gateway: Gateway, supervisors: Sequence[int], every_s: float, seconds: float) -> tuple[int, int]:
    """Kill a worker or the gateway every few seconds, in turn; return the kills of each."""
    workers = gateways = 0
    until = time.monotonic() + seconds
    while time.monotonic() + every_s < until:
        await asyncio.sleep(every_s)
        if workers <= gateways:
            for worker in psutil.Process(supervisors[workers % len(supervisors)]).children():
                worker.kill()
            workers += 1
        else:
            await gateway.stop(kill=True)
            await gateway.start()
            gateways += 1
    return workers, gateways


@contextlib.asynccontextmanager
async def gateway_of(place: Stage) -> AsyncIterator[Gateway]:
    """Run a gateway beside the stage's Redis."""
    gateway = Gateway(place)
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.stop()
