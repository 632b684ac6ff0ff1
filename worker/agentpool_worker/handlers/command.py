"""One process for each job, in any language: JSON on standard input, JSON on standard output.

The payload goes to the process's standard input; what it prints on standard output is the result; standard error is
its log, whose tail is kept for the error message. The job's id, attempt and deadline are in the environment, and the
names of the files and the pipe through which it finds its state and tells its progress. Each process leads a process
group of its own, which is killed as a whole when the job is to stop, and after the process has ended too: a job
leaves nothing behind.

Exit codes: 0 succeeded; 65 (EX_DATAERR) failed for good; 75 (EX_TEMPFAIL) overloaded, try later; any other, and
death by a signal, failed and may be retried.
Who takes over next: `agentpool_worker.execution` turns the exceptions raised here into completions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

from agentpool.errors import HandlerError, InvalidJobError
from agentpool.parent_death import tied
from agentpool.queue.bodies import parse
from agentpool.tracing import child_of
from agentpool_worker.handlers.job_files import job_files
from agentpool_worker.signals import Overloaded, Permanent, Retry, Yielded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_worker.context import Context
    from agentpool_worker.handlers import RunJob
    from agentpool_worker.handlers.job_files import JobFiles

log = logging.getLogger("agentpool.worker.job")

STDOUT_LIMIT_BYTES = 16 * 1024 * 1024  # a larger result fails the job, not the worker's memory
STDERR_TAIL_BYTES = 4096  # kept for the error message
TERM_SECONDS = 2.0  # from SIGTERM to SIGKILL
_EXIT_POLL_SECONDS = 0.1
_READ_BYTES = 64 * 1024
_EX_DATAERR = 65
_EX_TEMPFAIL = 75


class CommandFailedError(Retry):
    """The process ended with an error; the message holds the tail of its standard error."""


class CommandHandlers:
    """Runs every job, of whatever kind, as one process."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = tuple(argv)
        self._tie = tied(signal.SIGKILL)  # no two processes run the same job side by side
        self._groups: set[int] = set()  # of processes that have not ended for good

    @property
    def kinds(self) -> None:
        """Every kind is taken; the process finds it in AGENTPOOL_KIND."""
        return

    def find(self, kind: str) -> RunJob:
        """The one handler there is."""
        del kind
        return self.run

    async def start(self) -> None:
        """Checks that there is such a program. Raises HandlerError."""
        if shutil.which(self._argv[0]) is None:
            raise HandlerError(
                f"handler.command.argv: {self._argv[0]!r}: there is no such program on PATH, or it is not executable; "
                "check its spelling and its execute permission"
            )

    async def stop(self) -> None:
        """Ends what is left of jobs that were given up before their processes had ended."""
        for group in self._groups:
            _signal_group(group, signal.SIGKILL)

    async def run(self, payload: Any, ctx: Context) -> Any:
        """One job. Raises Permanent, Overloaded or CommandFailedError by the exit code."""
        with job_files(ctx) as files:
            return await self._run(payload, ctx, files)

    async def _run(self, payload: Any, ctx: Context, files: JobFiles) -> Any:
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **_environment(ctx), **files.environment},
            preexec_fn=self._tie,
            start_new_session=True,  # its group is its own: what it starts can be found and killed with it
        )
        self._groups.add(process.pid)
        readers = (
            asyncio.ensure_future(_read_limited(process.stdout)),
            asyncio.ensure_future(_read_tail(process.stderr, ctx)),
        )
        try:
            code = await _lived(process, json.dumps(payload).encode(), files)
        except BaseException:
            await _kill_group(process)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            raise
        finally:
            _signal_group(process.pid, signal.SIGKILL)  # grandchildren would keep the pipes open, and live on
            self._groups.discard(process.pid)
        stdout, stderr = await asyncio.gather(*readers)
        return _result(code, stdout, stderr)


async def _lived(process: asyncio.subprocess.Process, data: bytes, files: JobFiles) -> int:
    """Feeds the process and listens to it until it has ended; its exit code. Raises what `JobFiles.listen` raises."""
    listening = asyncio.ensure_future(files.listen())
    living = asyncio.ensure_future(_fed_until_exit(process, data))
    try:
        await asyncio.wait({listening, living}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            listening.result()
        code = await living
    finally:
        for task in (listening, living):
            task.cancel()
        await asyncio.gather(listening, living, return_exceptions=True)
    with contextlib.suppress(Yielded):  # it has ended by itself: there is nothing left to hand back
        await files.hear_all()
    return code


async def _fed_until_exit(process: asyncio.subprocess.Process, data: bytes) -> int:
    await _feed(process.stdin, data)
    return await _exit_code(process)


def _environment(ctx: Context) -> dict[str, str]:
    variables = {
        "AGENTPOOL_JOB_ID": ctx.job_id,
        "AGENTPOOL_KIND": ctx.kind,
        "AGENTPOOL_PRIORITY": ctx.priority.value,
        "AGENTPOOL_ATTEMPT": str(ctx.attempt),
        "AGENTPOOL_MAX_ATTEMPTS": str(ctx.max_attempts),
        "AGENTPOOL_DEADLINE": ctx.deadline.isoformat(),
        "AGENTPOOL_REMAINING_SECONDS": f"{ctx.remaining_seconds:.3f}",
    }
    return variables | {name.upper().replace("-", "_"): value for name, value in child_of(ctx.trace).items()}


async def _feed(stdin: asyncio.StreamWriter | None, data: bytes) -> None:
    if stdin is None:
        return
    # A program need not read its input. Of a pipe that it has closed already, uvloop says RuntimeError.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
        stdin.write(data)
        await stdin.drain()
        stdin.close()
        await stdin.wait_closed()


async def _exit_code(process: asyncio.subprocess.Process) -> int:
    """How the process ended, once it has.

    asyncio before 3.13 tells of it only when the pipes are closed too (gh-119710), and a grandchild may hold them
    open for ever: so the code itself is looked at from time to time.
    """
    waiter = asyncio.ensure_future(process.wait())
    try:
        while process.returncode is None:
            await asyncio.wait({waiter}, timeout=_EXIT_POLL_SECONDS)
        return process.returncode
    finally:
        waiter.cancel()


async def _read_limited(stream: asyncio.StreamReader | None) -> bytes | None:
    """All of the stream, or None when it is larger than the limit (it is still read to its end)."""
    data = bytearray()
    too_large = False
    while stream is not None and (chunk := await stream.read(_READ_BYTES)):
        too_large = too_large or len(data) + len(chunk) > STDOUT_LIMIT_BYTES
        if not too_large:
            data += chunk
    return None if too_large else bytes(data)


async def _read_tail(stream: asyncio.StreamReader | None, ctx: Context) -> str:
    """The end of the stream; all of it goes to the worker's log at debug level."""
    tail = b""
    while stream is not None and (chunk := await stream.read(_READ_BYTES)):
        if log.isEnabledFor(logging.DEBUG):
            ctx.log.debug("stderr: %s", chunk.decode(errors="replace").rstrip())
        tail = (tail + chunk)[-STDERR_TAIL_BYTES:]
    return tail.decode(errors="replace").strip()


async def _kill_group(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, a moment to tidy up, SIGKILL; returns when the process is gone."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_exit_code(process), TERM_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    await _exit_code(process)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; on macOS a group of zombies says EPERM
        os.killpg(group, number)


def _result(code: int, stdout: bytes | None, stderr: str) -> Any:
    tail = f"; its standard error ends:\n{stderr}" if stderr else ""
    if code == _EX_DATAERR:
        raise Permanent(f"the command exited with {code}: the job can never succeed{tail}")
    if code == _EX_TEMPFAIL:
        raise Overloaded(f"the command exited with {code}: try later{tail}")
    if code < 0:
        raise CommandFailedError(f"the command was killed by {signal.Signals(-code).name}{tail}")
    if code:
        raise CommandFailedError(f"the command exited with {code}{tail}")
    if stdout is None:
        raise Permanent(f"the command printed more than {STDOUT_LIMIT_BYTES} bytes; print a reference to the data")
    if not stdout.strip():
        return None
    try:
        return parse("result", stdout)
    except (ValueError, InvalidJobError) as error:
        raise Permanent(f"the command's standard output is not JSON ({error}){tail}") from error
