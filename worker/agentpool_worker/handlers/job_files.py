"""Files and a pipe for a job's process, beside its standard streams.

A directory for each job, removed with the job. `AGENTPOOL_STATE` and `AGENTPOOL_PARENTS` name JSON files, because the
environment is too small for their content. `AGENTPOOL_REPORT` names a pipe for appended lines from any language, even a
shell: `{"progress": …}`, `{"checkpoint": …}` or `{"chunk": …}`, the NDJSON of the http handler's streams. The worker
holds both ends of the pipe open, so opening the pipe never blocks, and reports are published in order, each after the
previous: a process that reports faster than Redis accepts waits at the write. `agentpool_worker.handlers.command`
starts the process and listens while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import HandlerError
from agentpool_worker.exceptions import Permanent
from agentpool_worker.guards.fitness import own_work
from agentpool_worker.handlers.stream import LineSplitter, Part, PartName, parse_ndjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentpool_worker.context import Context

_READ_BYTES = 64 * 1024
_PREFIX = "agentpool-job-"


class JobFiles:
    """Directory of a job; `environment` passes the locations to its process."""

    def __init__(self, directory: Path, ctx: Context) -> None:
        self._ctx = ctx
        self._lines = LineSplitter()
        report = directory / "report"
        os.mkfifo(report, 0o600)
        self._pipe = os.open(report, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.environment = {"AGENTPOOL_REPORT": str(report)}
        self.mark = f"AGENTPOOL_REPORT={report}"  # in the environment of this job's processes only
        if ctx.state is not None:
            self._keep(directory / "state.json", "AGENTPOOL_STATE", ctx.state)
        if ctx.parents:
            self._keep(directory / "parents.json", "AGENTPOOL_PARENTS", dict(ctx.parents))

    async def listen(self) -> None:
        """Publish the process's reports until cancelled.

        Raises Permanent for an invalid line, and the errors of `Context.checkpoint`.
        """
        while True:
            await self._readable()
            await self.hear_all()

    async def hear_all(self) -> None:
        """Publish all pending reports."""
        while chunk := self._read():
            try:
                parts = [part for line in self._lines.feed(chunk) if (part := parse_ndjson(line)) is not None]
            except ValueError as error:
                raise Permanent(f"the command wrote an invalid report to AGENTPOOL_REPORT: {error}") from error
            for part in parts:
                await self._publish(part)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._pipe)

    def _keep(self, path: Path, variable: str, value: Any) -> None:
        path.write_text(json.dumps(value), encoding="utf-8")
        self.environment[variable] = str(path)

    def _read(self) -> bytes:
        try:
            return os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return b""

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._pipe, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._pipe)

    async def _publish(self, part: Part) -> None:
        match part.name:
            case PartName.PROGRESS:
                await self._ctx.progress(part.value)
            case PartName.CHECKPOINT:
                await self._ctx.checkpoint(part.value)
            case PartName.CHUNK:
                await self._ctx.emit(part.value)
            case name:
                raise Permanent(
                    f"the command wrote {name.value!r} to AGENTPOOL_REPORT; a result goes to standard output, "
                    "an error into the exit code"
                )


def check_directory() -> None:
    """Raise HandlerError where no directory can hold a job's files."""
    try:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            os.mkfifo(directory / "report", 0o600)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    except OSError as error:
        raise HandlerError(
            f"TMPDIR: {os.environ.get('TMPDIR')!r}: a command's job needs a writable directory ({error})",
            remedy="mount a volume at /tmp, such as an emptyDir, or name a writable directory",
        ) from error


@contextlib.contextmanager
def job_files(ctx: Context) -> Iterator[JobFiles]:
    """Yield the job's directory while the process runs."""
    with own_work("make a directory for a job"):
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with own_work("write the files of a job"):
            files = JobFiles(directory, ctx)
        with contextlib.closing(files):
            yield files
    finally:
        shutil.rmtree(directory, ignore_errors=True)
