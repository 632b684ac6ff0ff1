"""A supervised process: started, observed, awaited, stopped.

Its output goes line by line to a sink, and the last lines are kept for an error message. Stopping sends SIGTERM to the
process, which stops its own children, and then kills the whole group. `stack` decides the order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from typing import TYPE_CHECKING

from agentpool_core.process.parent_death import signal_on_parent_death
from agentpool_local.errors import ChildDiedError, MissingPartError, NotReadyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 12
LONGEST_LINE_BYTES = 1024 * 1024
READY_POLL_SECONDS = 0.03
LAST_WORDS_SECONDS = 2.0  # time for output after the end of the process


class Child:
    """A child process, from its start to the end."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, sink: Callable[[str, str], None]) -> None:
        self.name = name
        self._process = process
        self._sink = sink
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._started_at = time.monotonic()  # seconds
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
        """Start a program. Raises MissingPartError if the program cannot be started."""
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
                preexec_fn=signal_on_parent_death(signal.SIGTERM),  # a single system call, prepared beforehand
            )
        except OSError as error:
            raise MissingPartError(f"{name} cannot be started: {argv[0]}: {error.strerror}") from error
        return cls(name, process, sink)

    @property
    def pid(self) -> int:
        """Return the process id, which is also the group id."""
        return self._process.pid

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started_at

    @property
    def tail(self) -> tuple[str, ...]:
        """Return the last lines of output."""
        return tuple(self._tail)

    async def until_ready(self, ready: Callable[[], Awaitable[bool]], *, seconds: float, missing: str) -> None:
        """Wait until `ready` returns True. Raises ChildDiedError or NotReadyError (which names the `missing` part)."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not await ready():
            if self._process.returncode is not None:
                raise await self._death()
            if asyncio.get_running_loop().time() > deadline:
                raise NotReadyError(self.name, seconds, missing, self.tail)
            await asyncio.sleep(READY_POLL_SECONDS)

    async def died(self) -> ChildDiedError:
        """Wait for the end of the process, and return the corresponding error."""
        await self._process.wait()
        return await self._death()

    async def stop(self, *, seconds: float) -> None:
        """Ask the process to end, and kill the group after this time. Safe to call twice."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), seconds)
        self.kill()
        await self._process.wait()
        await self._last_words()

    def kill(self) -> None:
        """Kill the whole group, including leftovers of the process."""
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
            except ValueError:  # longer than the limit: the partial line was dropped
                continue
            if not line:
                return
            text = line.decode("utf-8", errors="replace").rstrip()
            self._tail.append(text)
            self._sink(self.name, text)
