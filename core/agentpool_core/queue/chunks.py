"""Reading the stream of a job's output: `chunks:ID`, with an entry for each chunk, and one for the end of the job.

A reader continues after the id of any entry, through restarts of every part. The worker writes chunks by
`Consumer.emit`; the client, the gateway and the command line read them here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import PayloadTooLargeError
from agentpool_core.process.cancellation import raise_lost
from agentpool_core.queue.codec.json_text import UndecodableError, decode, encode
from agentpool_core.queue.codec.records import fields_of
from agentpool_core.queue.connection.client import ask, longest_block_s
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.keys import Keys

if TYPE_CHECKING:
    from agentpool_core.jobs import JobId, Json, PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.inspector import Inspector

MAX_CHUNK_BYTES = 65_536
MAX_CHUNKS = 10_000  # of a job; about so many newest chunks are kept
START = "0"  # before the oldest chunk
PAGE = 500  # entries read at once
PAGE_NEWEST = 16  # likewise, backwards: at most a MiB
FOLLOW_BLOCK_MS = 20_000  # of a reader that hears of the end by other means
_BLOCK_MS = 1_000  # after which the state of a silent job is looked at


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A chunk of a job's output."""

    id: str  # place in the stream; pass it on to read later chunks
    run: int  # grows with every run of the handler; a later run may repeat chunks of an earlier run
    attempt: int  # of the run
    number: int  # within the run, from 1
    value: Json


def encode_chunk(value: Json) -> str:
    """Return a chunk as JSON text. Raises InvalidJobError, or PayloadTooLargeError above MAX_CHUNK_BYTES."""
    text = encode("chunk", value)
    if len(text) > MAX_CHUNK_BYTES:
        raise PayloadTooLargeError(field="chunk", size=len(text), limit=MAX_CHUNK_BYTES)
    return text


async def follow_chunks(
    redis: RedisClient, inspector: Inspector, pool: PoolRef, job_id: JobId, *, after: str = START
) -> AsyncIterator[Chunk]:
    """Yield the chunks of a job after a place, as they come, until the job has ended.

    Raises UnknownJobError. A dead letter that is replayed continues its stream.
    """
    key = Keys(pool).chunks(job_id)
    job = await inspector.job(pool, job_id)
    block_ms = min(_BLOCK_MS, int(longest_block_s(redis) * 1000))
    while True:
        rows = await _read(redis, key, after, 0 if job.state.terminal else block_ms)
        for after, fields in rows:  # noqa: PLR1704  # where the next reading goes on
            if (chunk := _chunk(after, fields)) is not None:
                yield chunk
        if job.state.terminal and len(rows) < PAGE:
            return
        if not rows or "end" in rows[-1][1]:
            job = await inspector.job(pool, job_id)
        raise_lost()


class JobOutput:
    """The output of a pool's jobs for readers that hear of the end of a job by its events."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self._redis = redis
        self._keys = Keys(pool)

    async def newest(self, job_id: JobId, *, most_bytes: int) -> list[Chunk]:
        """Return the newest chunks that have at most so many bytes together, oldest first."""
        found: list[Chunk] = []
        before, left = "+", most_bytes
        while True:
            rows = await ask(self._redis, "XREVRANGE", self._keys.chunks(job_id), before, "-", "COUNT", PAGE_NEWEST)
            with Reading("xrevrange"):
                for row in rows:
                    fields = fields_of(row[1])
                    left -= len(fields.get("data", ""))
                    if left < 0:
                        return found[::-1]
                    found += filter(None, [_chunk(str(row[0]), fields)])
                if len(rows) < PAGE_NEWEST:
                    return found[::-1]
                before = f"({rows[-1][0]}"

    async def after(self, job_id: JobId, place: str) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks after a place that are stored now."""
        async for chunk in self._pages(job_id, place, block_ms=0):
            yield chunk

    async def follow(self, job_id: JobId, place: str) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks after a place, as they come. Never ends by itself."""
        block_ms = min(FOLLOW_BLOCK_MS, int(longest_block_s(self._redis) * 1000))
        async for chunk in self._pages(job_id, place, block_ms=block_ms):
            yield chunk

    async def _pages(self, job_id: JobId, place: str, *, block_ms: int) -> AsyncGenerator[Chunk, None]:
        while True:
            rows = await _read(self._redis, self._keys.chunks(job_id), place, block_ms)
            for place, fields in rows:  # noqa: PLR1704  # where the next reading goes on
                if (chunk := _chunk(place, fields)) is not None:
                    yield chunk
            if not block_ms and len(rows) < PAGE:
                return
            raise_lost()


async def _read(redis: RedisClient, key: str, after: str, block_ms: int) -> list[tuple[str, dict[str, str]]]:
    """Return the next entries; wait for the first one for up to `block_ms`."""
    wait: tuple[Any, ...] = ("BLOCK", block_ms) if block_ms else ()
    reply = await ask(redis, "XREAD", "COUNT", PAGE, *wait, "STREAMS", key, after)
    with Reading("xread"):
        if not reply:
            return []
        rows = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
        return [(str(row[0]), fields_of(row[1])) for row in rows]


def _chunk(entry_id: str, fields: dict[str, str]) -> Chunk | None:
    """Return the chunk of an entry; None for the end of a job, and for an entry that no script writes."""
    try:
        run, attempt, number = (int(text) for text in fields.get("at", "").split(" "))
        return Chunk(id=entry_id, run=run, attempt=attempt, number=number, value=decode(fields.get("data", "")))
    except (ValueError, UndecodableError):
        return None
