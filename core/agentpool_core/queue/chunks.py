"""Reading the stream of a job's output: `chunks:ID`, with an entry for each chunk, and one for the end of the job.

A reader continues after the id of any entry, through restarts of every part. The worker writes chunks by
`Consumer.emit`; the client, the gateway and the command line read them here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
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
PAGE = 32  # entries read at once: at most 2 MiB, held for each reader whose client takes nothing
PAGE_NEWEST = 16  # likewise, backwards: at most a MiB
FOLLOW_BLOCK_MS = 20_000  # of a reader that learns of the end by a different call
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


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputEntry:
    """An entry of the stream of a job's output."""

    place: str
    chunk: Chunk | None  # None: the end of a job, or an entry that no script writes
    ended: bool
    size: int  # bytes of the chunk's JSON text


async def read_output(
    redis: RedisClient, pool: PoolRef, places: Mapping[JobId, str], *, count: int = PAGE, block_ms: int = 0
) -> dict[JobId, list[OutputEntry]]:
    """Return at most `count` next entries of each job after its place; wait for the first one for up to `block_ms`."""
    wait: tuple[Any, ...] = ("BLOCK", block_ms) if block_ms else ()
    keys = {Keys(pool).chunks(job_id): job_id for job_id in places}
    reply = await ask(redis, "XREAD", "COUNT", count, *wait, "STREAMS", *keys, *places.values())
    with Reading("xread"):
        pairs = reply.items() if isinstance(reply, dict) else reply or ()
        return {keys[str(key)]: [_entry(str(row[0]), fields_of(row[1])) for row in rows] for key, rows in pairs}


def longest_wait_ms(redis: RedisClient) -> int:
    """Return how long a read of output may wait on this client."""
    return int(min(FOLLOW_BLOCK_MS, longest_block_s(redis) * 1000))


async def follow_chunks(
    redis: RedisClient, inspector: Inspector, pool: PoolRef, job_id: JobId, *, after: str = START
) -> AsyncIterator[Chunk]:
    """Yield the chunks of a job after a place, as they come, until the job has ended.

    Raises UnknownJobError. A dead letter that is replayed continues its stream.
    """
    job = await inspector.job(pool, job_id)
    block_ms = min(_BLOCK_MS, longest_wait_ms(redis))
    while True:
        found = await read_output(redis, pool, {job_id: after}, block_ms=0 if job.state.terminal else block_ms)
        entries = found.get(job_id, [])
        for entry in entries:
            after = entry.place
            if entry.chunk is not None:
                yield entry.chunk
        if job.state.terminal and len(entries) < PAGE:
            return
        if not entries or entries[-1].ended:
            job = await inspector.job(pool, job_id)
        raise_lost()


class JobOutput:
    """The stored output of a pool's jobs."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self._redis = redis
        self._pool = pool

    async def newest(self, job_id: JobId, *, most_bytes: int) -> list[Chunk]:
        """Return the newest chunks that have at most so many bytes together, oldest first."""
        found: list[Chunk] = []
        before, left = "+", most_bytes
        key = Keys(self._pool).chunks(job_id)
        while True:
            rows = await ask(self._redis, "XREVRANGE", key, before, "-", "COUNT", PAGE_NEWEST)
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

    async def oldest(self, job_id: JobId) -> str | None:
        """Return the place of the oldest stored entry; None: no output is stored."""
        found = await read_output(self._redis, self._pool, {job_id: START}, count=1)
        return next((entry.place for entry in found.get(job_id, ())), None)

    async def after(self, job_id: JobId, place: str) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks after a place that are stored now."""
        entries: list[OutputEntry] | None = None
        while entries is None or len(entries) == PAGE:
            found = await read_output(self._redis, self._pool, {job_id: place})
            entries = found.get(job_id, [])
            for entry in entries:
                place = entry.place
                if entry.chunk is not None:
                    yield entry.chunk


def _entry(place: str, fields: dict[str, str]) -> OutputEntry:
    chunk = _chunk(place, fields)
    return OutputEntry(place=place, chunk=chunk, ended="end" in fields, size=len(fields.get("data", "")))


def _chunk(entry_id: str, fields: dict[str, str]) -> Chunk | None:
    """Return the chunk of an entry; None for the end of a job, and for an entry that no script writes."""
    try:
        run, attempt, number = (int(text) for text in fields.get("at", "").split(" "))
        return Chunk(id=entry_id, run=run, attempt=attempt, number=number, value=decode(fields.get("data", "")))
    except (ValueError, UndecodableError):
        return None
