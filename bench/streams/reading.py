"""Readers of streams over HTTP that cost the measured system little: plain sockets, read now and parsed after the run.

A reader notes each block of bytes with its time, and resumes a broken stream with the id of its last token.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, cast

from bench.streams.verdict import Token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agentpool_core.jobs import JobId
    from bench.gateway import Gateway

PAUSE_SECONDS = 0.5  # before the reader connects again; EventSource in browsers waits some seconds
LONGEST_SECONDS = 300.0  # of one connection
ENDED = b"event: end\n"
NOTHING_LEFT = b"HTTP/1.1 204 "  # the job has ended, and everything was read

Block = tuple[float, bytes]  # the time of `time.monotonic()` at which the bytes came


class _Connection(asyncio.Protocol):
    """One request, and the blocks of its answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.blocks: list[Block] = []
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self.blocks.append((time.monotonic(), data))

    def connection_lost(self, _: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


class Reader:
    """A reader of one job's stream."""

    def __init__(self, gateway: Gateway, job_id: JobId) -> None:
        self._gateway = gateway
        self._job_id = job_id
        self._answers: list[list[Block]] = []  # one for each connection
        self.breaks = 0  # of the connection

    async def follow(self) -> None:
        """Read until the job has ended, over as many connections as it takes."""
        last = ""
        while True:
            blocks = await self._read(last)
            if blocks and (blocks[0][1].startswith(NOTHING_LEFT) or ENDED in b"".join(data for _, data in blocks[-2:])):
                return
            self.breaks += 1
            last = next((message["id"] for _, message in reversed(list(messages(blocks))) if "id" in message), last)
            await asyncio.sleep(PAUSE_SECONDS)

    def tokens(self) -> Iterator[Token]:
        """Parse the answers."""
        for blocks in self._answers:
            for at, message in messages(blocks):
                if message.get("event") == "chunk":
                    chunk = json.loads(message["data"])
                    part, place, sent = chunk["value"]
                    yield Token(
                        run=chunk["run"], number=chunk["number"], part=part, place=place, delay_s=at - sent, at=at,
                        live=sent >= blocks[0][0],
                    )  # fmt: skip

    async def _read(self, last: str) -> list[Block]:
        """Return the answer to one request; empty if no gateway listens."""
        gateway = self._gateway
        resume = f"Last-Event-ID: {last}\r\n" if last else ""
        request = (
            f"GET {gateway.path}/{self._job_id}/stream HTTP/1.1\r\nHost: {gateway.host}\r\nConnection: close\r\n"
            f"Authorization: Bearer {gateway.token}\r\n{resume}\r\n"
        )
        try:
            transport, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(request.encode()), gateway.host, gateway.port
            )
        except OSError:
            return []
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await connection.closed
        finally:
            transport.close()
        self._answers.append(connection.blocks)
        return connection.blocks


def messages(blocks: Sequence[Block]) -> Iterator[tuple[float, dict[str, str]]]:
    """Yield the events of an answer in chunked transfer coding, with the time at which each was complete."""
    framed, text, begun = b"", b"", False
    for at, data in blocks:
        framed += data
        if not begun:
            head, begun_here, rest = framed.partition(b"\r\n\r\n")
            if not begun_here:
                continue
            begun, framed = True, rest if b"chunked" in head.lower() else b""
        content, framed = _unframed(framed)
        *complete, text = (text + content).split(b"\n\n")
        for message in complete:
            yield at, dict(line.split(": ", 1) for line in message.decode().split("\n") if not line.startswith(":"))


def _unframed(framed: bytes) -> tuple[bytes, bytes]:
    """Return the content of the complete chunks, and the rest."""
    content, begin = [], 0
    while (end := framed.find(b"\r\n", begin)) >= 0:
        after = end + 2 + int(framed[begin:end], 16)
        if after + 2 > len(framed):
            break
        content.append(framed[end + 2 : after])
        begin = after + 2
    return b"".join(content), framed[begin:]
