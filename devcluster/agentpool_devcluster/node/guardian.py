"""Start and inform the `guard` process, which outlives a killed node just long enough to end its processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

from agentpool_devcluster.node import guard

if TYPE_CHECKING:
    from pathlib import Path


class Guardian:
    """The node's end of the pipe to the guard."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, state_dir: Path) -> Guardian:
        """Start a guard for `state_dir`, which the guard removes at the end."""
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(state_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        return cls(process)

    def watch(self, group: int) -> None:
        """Register a process group for the case that the node vanishes."""
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """Forget an ended group: its number may be reused."""
        self._tell(f"-{group}\n")

    async def stop(self) -> None:
        """Let the guard clear up and end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await asyncio.to_thread(self._process.wait)

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None:
            try:
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()
            except OSError:
                return  # the guard was killed: nothing is lost but the protection
