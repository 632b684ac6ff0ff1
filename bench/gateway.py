"""A gateway beside a stage's Redis, in a process that may be killed and starts again on its port."""

from __future__ import annotations

import contextlib
import secrets
import sys
from typing import TYPE_CHECKING

import aiohttp

from agentpool_local.stack.child import Child
from agentpool_local.stack.redis_server import free_port
from bench.stage import POOL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The present process; 0: none."""
        return 0 if self._child is None else self._child.pid

    async def start(self) -> None:
        """Start the process, and wait until it answers."""
        self._tokens.write_text(f"tokens:\n- {{name: bench, token: {self.token}}}\n", encoding="utf-8")
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
            async with aiohttp.ClientSession() as session, session.get(f"{self.origin}/readyz") as answer:
                return answer.ok
        except (aiohttp.ClientError, OSError):
            return False


@contextlib.asynccontextmanager
async def gateway_of(place: Stage) -> AsyncIterator[Gateway]:
    """Run a gateway beside the stage's Redis."""
    gateway = Gateway(place)
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.stop()
