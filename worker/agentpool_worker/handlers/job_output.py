"""Standard output and standard error of a job's process, read through our own pipes.

The end of the process decides, not the end of the output: a leftover process may hold the pipes for ever. The output is
everything that arrives until shortly after the end. `agentpool_worker.handlers.command` turns it into a result.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from agentpool_worker.context import Context

log = logging.getLogger("agentpool_worker.job")

STDOUT_LIMIT_BYTES = 16 * 1024 * 1024  # a larger result fails the job, not the worker's memory
STDERR_TAIL_BYTES = 4096  # kept for the error message
_READ_BYTES = 64 * 1024


class JobOutput:
    """Reads from the moment of `start`, within `async with`."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._stdout = bytearray()
        self._too_large = False
        self._stderr = b""
        self._transports: list[asyncio.ReadTransport] = []
        self._readers: list[asyncio.Task[None]] = []
        self.ends: tuple[int, ...] = ()  # for the process: standard output, standard error; closed by `close_ends`

    async def __aenter__(self) -> Self:
        for read in (self._read_stdout, self._read_stderr):
            source, end = os.pipe()
            self.ends = (*self.ends, end)
            reader = asyncio.StreamReader()
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda reader=reader: asyncio.StreamReaderProtocol(reader),  # type: ignore[misc]
                os.fdopen(source, "rb", buffering=0),
            )
            self._transports.append(transport)
            self._readers.append(asyncio.create_task(read(reader)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_ends()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for transport in self._transports:
            transport.close()

    def close_ends(self) -> None:
        """Leave the far ends of the pipes to the process."""
        for end in self.ends:
            os.close(end)
        self.ends = ()

    async def wait_for_end(self, within_seconds: float) -> bool:
        """Wait briefly for the end of the output; return whether the output ended."""
        _, late = await asyncio.wait(self._readers, timeout=within_seconds)
        return not late

    @property
    def stdout(self) -> bytes | None:
        """Return the standard output; None: more than the limit."""
        return None if self._too_large else bytes(self._stdout)

    @property
    def stderr(self) -> str:
        """Return the end of the standard error."""
        return self._stderr.decode(errors="replace").strip()

    async def _read_stdout(self, stream: asyncio.StreamReader) -> None:
        """Keep the output up to the limit; read and drop the excess, so that the process does not block."""
        while chunk := await stream.read(_READ_BYTES):
            self._too_large = self._too_large or len(self._stdout) + len(chunk) > STDOUT_LIMIT_BYTES
            if not self._too_large:
                self._stdout += chunk

    async def _read_stderr(self, stream: asyncio.StreamReader) -> None:
        """Keep the end of the stream; log all of it at debug level."""
        while chunk := await stream.read(_READ_BYTES):
            if log.isEnabledFor(logging.DEBUG):
                self._ctx.log.debug("stderr: %s", chunk.decode(errors="replace").rstrip())
            self._stderr = (self._stderr + chunk)[-STDERR_TAIL_BYTES:]
