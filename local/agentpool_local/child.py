"""One supervised process: started, listened to, waited for, stopped.

Its output goes line by line to a sink, and the last lines are kept for the moment it dies. Stopping asks first
(SIGTERM to the process, which stops its own children) and then kills the whole group. `stack` decides the order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from typing import TYPE_CHECKING

from agentpool.parent_death import tied
from agentpool_local.errors import ChildDiedError, MissingPartError, NotReadyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 12
LONGEST_LINE_BYTES = 1024 * 1024
READY_POLL_SECONDS = 0.03
LAST_WORDS_SECONDS = 2.0  # how long output may still come after the process itself has ended


class Child:
    """A process of ours, from its start to its end."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, sink: Callable[[str, str], None]) -> None:
        self.name = name
        self._process = process
        self._sink = sink
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._listening = asyncio.create_task(self._listen(), name=f"output of {name}")

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str],
        *,
        cwd: Path,
        sink: Callable[[str, str], None],
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a program. Raises MissingPartError when it cannot be started."""
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                limit=LONGEST_LINE_BYTES,
                preexec_fn=tied(signal.SIGTERM),  # one system call, prepared beforehand
            )
        except OSError as error:
            raise MissingPartError(f"{name} cannot be started: {argv[0]}: {error.strerror}") from error
        return cls(name, process, sink)

    @property
    def pid(self) -> int:
        """The process's id, which is also its group's."""
        return self._process.pid

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines it wrote."""
        return tuple(self._tail)

    async def until_ready(self, ready: Callable[[], Awaitable[bool]], *, seconds: float, missing: str) -> None:
        """Wait until `ready` says so. Raises ChildDiedError or NotReadyError (which tells what is `missing`)."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not await ready():
            if self._process.returncode is not None:
                raise await self._death()
            if asyncio.get_running_loop().time() > deadline:
                raise NotReadyError(self.name, seconds, missing, self.tail)
            await asyncio.sleep(READY_POLL_SECONDS)

    async def died(self) -> ChildDiedError:
        """Wait for the end of the process, and return it as an error."""
        await self._process.wait()
        return await self._death()

    async def stop(self, *, seconds: float) -> None:
        """Ask the process to end, and kill its group if it has not after that long. Safe to call twice."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), seconds)
        self.kill()
        await self._process.wait()
        await self._last_words()

    def kill(self) -> None:
        """Kill the whole group, with what the process itself may have left in it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _death(self) -> ChildDiedError:
        await self._last_words()
        return ChildDiedError(self.name, self._process.returncode or 0, self.tail)

    async def _last_words(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listening, LAST_WORDS_SECONDS)

    async def _listen(self) -> None:
        output = self._process.stdout
        while output is not None:
            try:
                line = await output.readline()
            except ValueError:  # longer than the limit: what came of it has been dropped
                continue
            if not line:
                return
            text = line.decode("utf-8", errors="replace").rstrip()
            self._tail.append(text)
            self._sink(self.name, text)
