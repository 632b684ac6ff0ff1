"""A local process with all its descendants: its own process group, registered with the guardian, output to a log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentpool_devcluster.node.errors import StartError
from agentpool_devcluster.node.family import kill_family
from agentpool_devcluster.node.log_file import LARGEST_LINE_BYTES, LogWriter
from agentpool_devcluster.node.mounts import Mount, mounting_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentpool_devcluster.node.guardian import Guardian

OUTPUT_DRAIN_SECONDS = 2.0  # for output left in the pipes at the end


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A command with its environment and directory."""

    command: Sequence[str]  # program and arguments
    environment: Mapping[str, str]
    directory: str  # working directory inside the mount namespace
    mounts: Sequence[Mount] = ()
    staging: Path = Path("/")  # an empty directory the mounter may use
    has_image: bool = True  # a directory stands for the image

    def resolved(self, command: Sequence[str] | None = None) -> list[str]:
        """Return the command line to run; `command` replaces the container's own, for probes and hooks."""
        words = list(command or self.command)
        if self.mounts:
            return mounting_command(self.mounts, self.staging, self.directory, words)
        if not Path(self.directory).is_dir():
            raise StartError(f"workingDir {self.directory!r} does not exist on this host")
        program = words[0]
        found = shutil.which(program, path=self.environment.get("PATH"))
        if "/" in program and not Path(program).is_absolute():
            found = shutil.which(str(Path(self.directory) / program))
        if found is None:
            raise StartError(f'exec: "{program}": executable file not found in $PATH of this host')
        return [found, *words[1:]]


class LocalProcess:
    """A running process, created by `start`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        guardian: Guardian,
        log: LogWriter,
        outputs: Mapping[str, asyncio.StreamReader],
    ) -> None:
        self._process = process
        self._guardian = guardian
        self._log = log
        self._copies = [
            asyncio.create_task(log.copy(reader, name), name=f"log-{process.pid}-{name}")
            for name, reader in outputs.items()
        ]

    @classmethod
    async def start(cls, launch: Launch, guardian: Guardian, log_path: Path) -> LocalProcess:
        """Start the process. Raises StartError."""
        command = launch.resolved()
        directory = "/" if launch.mounts else launch.directory
        outputs, ends = {}, {}
        for name in ("stdout", "stderr"):
            outputs[name], ends[name] = await _pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=ends["stdout"],
                stderr=ends["stderr"],
                env=dict(launch.environment),
                cwd=directory,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise StartError(f'exec: "{launch.command[0]}": {error}') from error
        finally:
            for end in ends.values():
                os.close(end)
        guardian.watch(process.pid)
        return cls(process, guardian, LogWriter(log_path), outputs)

    @property
    def pid(self) -> int:
        """Return the process id, which is also the group id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end; return the exit code, 128 + N after signal N."""
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    def terminate(self) -> None:
        """Ask the process to end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill_all(self) -> None:
        """End the process, its group and its descendants."""
        kill_family(self.pid)

    async def clear_up(self) -> None:
        """Clean up after the end: kill leftovers, keep the rest of the output, unregister the group."""
        self.kill_all()
        _, late = await asyncio.wait(self._copies, timeout=OUTPUT_DRAIN_SECONDS)
        for copy in late:  # something that left the group holds the pipe
            copy.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)
        self._guardian.release(self.pid)
        self._log.close()


async def _pipe() -> tuple[asyncio.StreamReader, int]:
    """Return a pipe: its reader, and the end for a process.

    With asyncio's pipes, waiting for a process would also wait for all children that hold the pipes.
    """
    source, end = os.pipe()
    reader = asyncio.StreamReader(limit=LARGEST_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", buffering=0)
    )
    return reader, end


async def run_command(launch: Launch, command: Sequence[str], timeout_seconds: float | None) -> tuple[int, str]:
    """Run the command of a probe or hook in a container's environment; return exit code and start of the output.

    Raises StartError, and TimeoutError after `timeout_seconds` (None waits for ever); the command is ended either way.
    """
    words = launch.resolved(command)
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(launch.environment),
            cwd="/" if launch.mounts else launch.directory,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise StartError(f'exec: "{command[0]}": {error}') from error
    try:
        async with asyncio.timeout(timeout_seconds):
            output, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.returncode is None:
            await process.wait()
    return process.returncode or 0, output[:10_000].decode(errors="replace")
