"""The usage that a handler reports: each report counts once, however often its call is repeated.

A run of the handler numbers its reports from 1, as `output` numbers chunks. Concurrent reports share a write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agentpool_worker.durable.shared_writes import SharedWrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import Lease
    from agentpool_core.queue.usage import UsageReport


class UsageStore(Protocol):
    """How usage reaches the queue."""

    async def use(self, lease: Lease, first: int, reports: Sequence[UsageReport]) -> None:
        """Add reports numbered from `first`. Raises StaleLeaseError."""


class UsageReports:
    """The reports of one run of a handler."""

    def __init__(self, lease: Lease, store: UsageStore) -> None:
        self._lease = lease
        self._store = store
        self._stored = 0
        self._writes = SharedWrites(self._write)

    async def add(self, report: UsageReport) -> None:
        """Add a report; return when the queue has stored it. Raises StaleLeaseError."""
        await self._writes.add(report)

    async def _write(self, reports: list[UsageReport]) -> None:
        await self._store.use(self._lease, self._stored + 1, reports)
        self._stored += len(reports)
