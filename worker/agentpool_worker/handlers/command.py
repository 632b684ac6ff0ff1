"""A process for each job, in any language: JSON on standard input, JSON on standard output.

The payload goes to standard input; standard output is the result; standard error is the log, whose
tail becomes the error message. The environment contains the job's id, attempt and deadline, and the names of the files
and the pipe for state and progress. Each process leads a process group of its own, which is killed as a whole when the
job must stop, and also after the process's end, together with descendants outside the group: a job leaves nothing
behind, and the exit code decides, even if a descendant still holds the pipes.

Exit codes: 0 succeeded; 65 (EX_DATAERR) failed for good; 75 (EX_TEMPFAIL) overloaded, try later; any other code, and
death by a signal, failed and may be retried. `agentpool_worker.jobs.execution` turns the exceptions raised here into
completions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import HandlerError, InvalidJobError
from agentpool_core.process.cancellation import end
from agentpool_core.process.parent_death import signal_on_parent_death
from agentpool_core.queue.codec.json_text import parse
from agentpool_worker.exceptions import Overloaded, Permanent, Retry, Yielded
from agentpool_worker.guards.fitness import own_work
from agentpool_worker.handlers.context_server import ContextServer
from agentpool_worker.handlers.job_environment import inherited_variables, job_variables
from agentpool_worker.handlers.job_files import check_directory, job_files
from agentpool_worker.handlers.job_output import STDOUT_LIMIT_BYTES, JobOutput
from agentpool_worker.handlers.leftovers import end_leftovers, signal_group
from agentpool_worker.handlers.limits import Limits
from agentpool_worker.settings import OUTPUT_SECONDS
from agentpool_worker.supervision.exits import signal_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_worker.context import Context
    from agentpool_worker.handlers import RunJob
    from agentpool_worker.handlers.job_files import JobFiles

TERM_SECONDS = 2.0  # from SIGTERM to SIGKILL
_EXIT_POLL_SECONDS = 0.1
_EX_DATAERR = 65
_EX_TEMPFAIL = 75


class CommandFailedError(Retry):
    """The process ended with an error; the message holds the tail of standard error."""


class CommandHandlers:
    """Runs every job, of any kind, as a process."""

    def __init__(
        self, argv: Sequence[str], *, pass_env: Sequence[str] = (), output_seconds: float = OUTPUT_SECONDS
    ) -> None:
        self._argv = tuple(argv)
        self._pass_env = tuple(pass_env)
        self._output_seconds = output_seconds  # for output after the process has ended
        self._tie = signal_on_parent_death(signal.SIGKILL)  # no two processes run the same job side by side
        self._groups: set[int] = set()  # of processes that have not ended for good
        self._running = 0  # jobs
        self._contexts = ContextServer()

    @property
    def kinds(self) -> None:
        """Return None: every kind is accepted; the process finds the kind in AGENTPOOL_KIND."""
        return

    def schemas(self) -> tuple[()]:
        """Return none: the AgentPool describes the payloads."""
        return ()

    def find(self, kind: str) -> RunJob:
        """Return the only handler."""
        del kind
        return self.run

    async def start(self) -> None:
        """Check the program and the directory for its files. Raises HandlerError."""
        if shutil.which(self._argv[0]) is None:
            raise HandlerError(
                f"handler.command.argv: {self._argv[0]!r}: no such program on PATH, or the program is not executable",
                remedy="check the spelling and the execute permission",
            )
        check_directory()
        await self._contexts.start()

    async def stop(self) -> None:
        """End the remaining processes of abandoned jobs."""
        await self._contexts.stop()
        for group in self._groups:
            signal_group(group, signal.SIGKILL)

    async def run(self, payload: Any, ctx: Context) -> Any:
        """Run a job. Raises Permanent, Overloaded or CommandFailedError by the exit code."""
        self._running += 1
        try:
            with job_files(ctx) as files, self._contexts.address_for(ctx) as address:
                files.environment["AGENTPOOL_CONTEXT"] = address
                async with JobOutput(ctx) as output:
                    return await self._run(payload, ctx, files, output)
        finally:
            self._running -= 1

    async def _run(self, payload: Any, ctx: Context, files: JobFiles, output: JobOutput) -> Any:
        limits = Limits()
        with own_work(f"start {self._argv[0]}"):
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=output.ends[0],
                stderr=output.ends[1],
                env={**inherited_variables(os.environ, self._pass_env), **job_variables(ctx), **files.environment},
                preexec_fn=self._tie,
                start_new_session=True,  # a separate group: its descendants can be found and killed with it
            )
        output.close_ends()
        self._groups.add(process.pid)
        try:
            code = await _run_to_exit(process, json.dumps(payload).encode(), files)
        except BaseException:
            await _kill_group(process)
            raise
        finally:
            await self._end_leftovers(process.pid, files, ctx)
            self._groups.discard(process.pid)
            limits.report(ctx)
        if not await output.wait_for_end(self._output_seconds):
            ctx.log.warning("a leftover process of the command holds the output, so the rest of the output is ignored")
        return _result(code, output, limits)

    async def _end_leftovers(self, group: int, files: JobFiles, ctx: Context) -> None:
        """Kill leftovers of a job, which would keep memory and hold the pipes open."""
        left = await end_leftovers(group, files.mark, alone=self._running == 1)
        if left:
            ctx.log.warning("the command left %d processes running, which were killed: %s", len(left), ", ".join(left))


async def _run_to_exit(process: asyncio.subprocess.Process, data: bytes, files: JobFiles) -> int:
    """Feed the process and listen until the end; return its exit code. Raises the errors of `JobFiles.listen`."""
    listening = asyncio.ensure_future(files.listen())
    living = asyncio.ensure_future(_feed_until_exit(process, data))
    try:
        await asyncio.wait({listening, living}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            listening.result()
        code = await living
    finally:
        for task in (listening, living):
            task.cancel()
        await asyncio.gather(listening, living, return_exceptions=True)
    with contextlib.suppress(Yielded):  # the process has ended: nothing is left to requeue
        await files.hear_all()
    return code


async def _feed_until_exit(process: asyncio.subprocess.Process, data: bytes) -> int:
    """Feed the process until the end: a leftover process may hold the input without reading."""
    feeding = asyncio.ensure_future(_feed(process.stdin, data))
    try:
        return await _exit_code(process)
    finally:
        await end(feeding)


async def _feed(stdin: asyncio.StreamWriter | None, data: bytes) -> None:
    if stdin is None:
        return
    # A program may ignore the input. uvloop raises RuntimeError for a pipe that is already closed.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
        stdin.write(data)
        await stdin.drain()
        stdin.close()
        await stdin.wait_closed()


async def _exit_code(process: asyncio.subprocess.Process) -> int:
    """Return the exit code after the end of the process.

    asyncio before 3.13 reports the end only when the pipes are closed too (gh-119710), and a grandchild may hold them
    open for ever: so the code is polled.
    """
    waiter = asyncio.ensure_future(process.wait())
    try:
        while process.returncode is None:
            await asyncio.wait({waiter}, timeout=_EXIT_POLL_SECONDS)
        return process.returncode
    finally:
        waiter.cancel()


async def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Send SIGTERM, wait a moment, send SIGKILL; return when the process is gone."""
    signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_exit_code(process), TERM_SECONDS)
    signal_group(process.pid, signal.SIGKILL)
    await _exit_code(process)


def _result(code: int, output: JobOutput, limits: Limits) -> Any:
    stdout, stderr = output.stdout, output.stderr
    tail = f"; its standard error ends:\n{stderr}" if stderr else ""
    if code == _EX_DATAERR:
        raise Permanent(f"the command exited with {code}: the job can never succeed{tail}")
    if code == _EX_TEMPFAIL:
        raise Overloaded(f"the command exited with {code}: try later{tail}")
    if code < 0:
        raise CommandFailedError(f"the command was killed by {signal_name(-code)}{limits.cause(-code)}{tail}")
    if code:
        raise CommandFailedError(f"the command exited with {code}{limits.cause(code - 128)}{tail}")
    if stdout is None:
        raise Permanent(f"the command printed more than {STDOUT_LIMIT_BYTES} bytes; print a reference to the data")
    if not stdout.strip():
        return None
    try:
        return parse("result", stdout)
    except (ValueError, InvalidJobError) as error:
        raise Permanent(f"the command's standard output is not JSON ({error}){tail}") from error
