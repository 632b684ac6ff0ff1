"""A TCP proxy that misbehaves on command: it cuts all connections, delays what passes, or lets nobody in.

Who takes over next: `ground` puts them before Redis, `faults` tells them what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

CHUNK_BYTES = 65_536
CONNECT_WITHIN_S = 5.0


class FaultProxy:
    """Listens on a free port of the loopback and passes on to where `target` says."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target  # the port to pass on to, asked for each connection
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0  # added to every chunk, in both directions
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """Cuts every connection at once, without a farewell."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        beyond: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                far, beyond = await asyncio.open_connection("127.0.0.1", self._target())
            self._open.add(beyond)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, beyond))
                both.create_task(self._pump(far, writer))
        except (OSError, TimeoutError, asyncio.CancelledError, ExceptionGroup):
            pass  # the clients' business: it is what they are tested with
        finally:
            for end in (writer, beyond):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
        raise ConnectionResetError  # one side has ended: so does the other
