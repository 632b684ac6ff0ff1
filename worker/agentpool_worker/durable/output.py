"""The stream of a job's output: chunks in order, each stored once before `emit` returns.

A run of the handler numbers its chunks from 1, and the queue drops a repeated number, so a lost answer doubles nothing.
Concurrent emits share a write. `agentpool_core.queue.chunks` reads the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from agentpool_core.queue.chunks import encode_chunk
from agentpool_worker.durable.shared_writes import SharedWrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import Lease


class ChunkStore(Protocol):
    """How output reaches the queue."""

    async def emit(self, lease: Lease, first: int, chunks: Sequence[str]) -> None:
        """Append chunks (JSON texts) numbered from `first`. Raises StaleLeaseError."""


class Output:
    """The output of one run of a handler."""

    def __init__(self, lease: Lease, store: ChunkStore) -> None:
        self._lease = lease
        self._store = store
        self._stored = 0
        self._writes = SharedWrites(self._write)

    async def emit(self, value: Any) -> None:
        """Append a chunk. Raises InvalidJobError, PayloadTooLargeError, StaleLeaseError."""
        await self._writes.add(encode_chunk(value))

    async def _write(self, chunks: list[str]) -> None:
        await self._store.emit(self._lease, self._stored + 1, chunks)
        self._stored += len(chunks)
