"""The stream of a job's output: chunks in order, each stored once before `emit` returns.

A run of the handler numbers its chunks from 1, and the queue drops a repeated number, so a lost answer doubles nothing.
`agentpool_worker.jobs.queue_calls` shares a write among all jobs of the worker; `agentpool_core.queue.chunks` reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from agentpool_core.queue.chunks import encode_chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import Lease


class ChunkStore(Protocol):
    """How output reaches the queue."""

    async def emit(self, lease: Lease, first: int, chunks: Sequence[str]) -> None:
        """Append chunks (JSON texts) numbered from `first`, in the order of the calls. Raises StaleLeaseError."""


class Output:
    """The output of one run of a handler."""

    def __init__(self, lease: Lease, store: ChunkStore) -> None:
        self._lease = lease
        self._store = store
        self._numbered = 0

    async def emit(self, value: Any) -> None:
        """Append a chunk. Raises InvalidJobError, PayloadTooLargeError, StaleLeaseError."""
        text = encode_chunk(value)
        self._numbered += 1
        await self._store.emit(self._lease, self._numbered, (text,))
