"""A process with an example and its framework already imported, which forks a worker for each line that it reads.

So a worker starts in a fraction of a second, and a thousand kills are a matter of minutes. The fork runs the command
line of a worker, with its supervisor; the matrix asks by `Zygote`.

    in   {"arguments": [...], "environment": {...}, "log": FILE}
    out  the process id of the supervisor, and after its end an empty line
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentpool_core.process.parent_death import signal_on_parent_death

MODULE = "tests.kills.zygote"
ROOT = Path(__file__).parents[2]
COMMAND_LINE = (
    "agentpool_core.cli.root",
    "agentpool_worker.commands",
    "agentpool_worker.runner",
    "agentpool_worker.worker",
)


class Fork:
    """A worker and its supervisor, forked by a zygote."""

    def __init__(self, pid: int, ended: asyncio.Future[None]) -> None:
        self._pid = pid
        self._ended = ended

    @property
    def ended(self) -> bool:
        """Whether the supervisor has ended."""
        return self._ended.done()

    async def stop(self) -> None:
        """End the worker in order."""
        if not self.ended:
            os.kill(self._pid, signal.SIGTERM)
        await self._ended


class Zygote:
    """A running zygote; it has one fork at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, environment: Mapping[str, str], log: Path) -> Zygote:
        """Start the process; it imports the example that the environment names."""
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", MODULE, cwd=ROOT, env={**os.environ, **environment},
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
                preexec_fn=signal_on_parent_death(signal.SIGKILL),
            )  # fmt: skip
        return cls(process)

    async def fork(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Fork:
        """Fork a worker with these arguments of the command line."""
        assert self._process.stdin is not None
        order = {"arguments": list(arguments), "environment": dict(environment), "log": str(log)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return Fork(int(await self._line()), asyncio.ensure_future(self._end()))

    async def close(self) -> None:
        """End the process after its last fork."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def _end(self) -> None:
        await self._line()

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise AssertionError("the zygote has ended; its log has the reason")
        return line


def main() -> None:
    """Import what a worker imports, then fork a worker for each line."""
    for module in (*COMMAND_LINE, "tests.kills.killed_app"):  # which has the example, with its framework
        importlib.import_module(module)
    for line in os.fdopen(os.dup(0)):  # `sys.stdin` stays as the command line of a worker expects it
        order = json.loads(line)
        tie = signal_on_parent_death(signal.SIGKILL)
        pid = os.fork()
        if pid == 0:
            if tie is not None:
                tie()
            become_worker(**order)
        os.write(1, b"%d\n" % pid)
        os.waitpid(pid, 0)
        os.write(1, b"\n")


def become_worker(arguments: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Run the command line of a worker in this fork."""
    from agentpool_core import start

    os.environ.update(environment)
    random.seed()
    sys.argv = ["agentpool", *arguments]
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for target, descriptor in enumerate((nothing, output, output)):
        os.dup2(descriptor, target)
    start.main()
    sys.exit()  # never back to the lines of the zygote


if __name__ == "__main__":
    main()
