"""Server processes of a trial: started with options, killed, and started again on the same port and directory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import QueueError
from agentpool_core.queue import connect
from agentpool_core.queue.connection.client import ask
from agentpool_local.stack.redis_server import find_server, free_port
from bench.report import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START_SECONDS = 30.0
POLL_SECONDS = 0.02


class Server:
    """A server with its directory."""

    def __init__(
        self, directory: Path, *options: str, config: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "", *options]
        self._command = [str(find_server()), *([str(config)] if config else []), *settings]
        self._environment = os.environ | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> Server:
        """Start the server; return once it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  # killed and awaited in one step
                self._command, stdout=log, stderr=log, env=self._environment
            )
        async with asyncio.timeout(START_SECONDS):
            while not await self._answers():  # noqa: ASYNC110  # nothing here could be awaited
                await asyncio.sleep(POLL_SECONDS)
        return self

    async def ask(self, *command: Any) -> Any:
        """Return the reply to a command."""
        async with connect(self.url) as client:
            return await ask(client, *command)

    def kill(self) -> float:
        """Kill the server, like a crash; return the time of the monotonic clock. Safe to call twice."""
        struck = time.monotonic()
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        return struck

    async def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            text = (self.directory / "log").read_text(encoding="utf-8", errors="replace")
            raise CannotRunError(f"a server ended at its start: {text[-500:]}")
        try:
            return bool(await self.ask("PING"))
        except QueueError:
            return False
