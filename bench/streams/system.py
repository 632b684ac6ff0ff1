"""The system of `bench streams`: a gateway and workers that are killed in turn, and the processor time of the parts.

A killed gateway starts again on its port; a worker's supervisor starts the next worker process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import psutil

from agentpool_local.stack.child import Child
from agentpool_local.stack.redis_server import free_port
from bench.stage import POOL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bench.stage import Stage

READY_SECONDS = 60.0


class Gateway:
    """A gateway process, restarted on its port."""

    def __init__(self, place: Stage) -> None:
        self._place = place
        self.host, self.port = "127.0.0.1", free_port()
        self.path = f"/v1/namespaces/{POOL.namespace}/pools/{POOL.name}/jobs"
        self._tokens = place.directory / "tokens.yaml"
        self._child: Child | None = None
        self.token = secrets.token_urlsafe(24)

    @property
    def pid(self) -> int:
        """The present process; 0: none."""
        return 0 if self._child is None else self._child.pid

    async def start(self) -> None:
        """Start the process, and wait until it answers."""
        self._tokens.write_text(f"tokens:\n- {{name: reader, token: {self.token}}}\n", encoding="utf-8")
        argv = [sys.executable, "-m", "agentpool_core", "gateway", "--redis", self._place.url]
        argv += ["--tokens", str(self._tokens), "--port", str(self.port), "--log-level", "error"]
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
            url = f"http://{self.host}:{self.port}/readyz"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.ok
        except (aiohttp.ClientError, OSError):
            return False


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


async def processor_seconds(place: Stage, gateway: Gateway) -> dict[str, float]:
    """Return the processor time that each part has used; the workers' without their supervisors."""
    server = (await place.redis.execute_command("INFO", "server"))["process_id"]
    workers = [child.pid for pid in place.pids for child in psutil.Process(pid).children()]
    parts = {
        "the server": [int(server)],
        "the workers": workers,
        "the gateway": [gateway.pid],
        "the readers": [os.getpid()],
    }
    return {part: sum(_used_by(pid) for pid in pids) for part, pids in parts.items()}


def _used_by(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
