"""The usage that a handler reports, and the money that it reserves before a call: each counts once.

A run of the handler numbers its reports and reservations from 1, as `output` numbers chunks, so a repeated call adds
nothing. Concurrent reports share a write. A report with a cost replaces the oldest reservation of the run; money
reserved for a call without a report stays spent, because the call may have been billed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agentpool_core.errors import BudgetExceededError
from agentpool_worker.durable.shared_writes import SharedWrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import Lease
    from agentpool_core.queue.usage import UsageReport


class UsageStore(Protocol):
    """How usage reaches the queue."""

    async def use(self, lease: Lease, first: int, reports: Sequence[UsageReport], *, reserved: int = 0) -> None:
        """Add reports numbered from `first`; `reserved`: billionths for these calls. Raises StaleLeaseError."""

    async def charge(self, lease: Lease, number: int, cost: int) -> None:
        """Reserve billionths of money. Raises BudgetExceededError, StaleLeaseError."""


@dataclass(kw_only=True, slots=True)
class _Item:
    report: UsageReport | None = None  # None: a reservation
    money: int = 0  # billionths to reserve, or reserved before for the report
    refusal: BudgetExceededError | None = None


class Spending:
    """The reports and reservations of one run of a handler."""

    def __init__(self, lease: Lease, store: UsageStore) -> None:
        self._lease = lease
        self._store = store
        self._stored = 0
        self._reserved: deque[int] = deque()  # not yet replaced by a report
        self._writes = SharedWrites(self._write)

    async def add(self, report: UsageReport, *, costed: bool) -> None:
        """Add a report; return when the queue has stored it. `costed`: its cost is known. Raises StaleLeaseError."""
        money = self._reserved.popleft() if costed and self._reserved else 0
        await self._writes.add(_Item(report=report, money=money))

    async def charge(self, cost: int) -> None:
        """Reserve billionths of money. Raises BudgetExceededError, StaleLeaseError."""
        item = _Item(money=cost)
        await self._writes.add(item)
        if item.refusal is not None:
            raise item.refusal

    async def _write(self, items: list[_Item]) -> None:
        reports = [item.report for item in items if item.report is not None]
        if reports:
            reserved = sum(item.money for item in items if item.report is not None)
            await self._store.use(self._lease, self._stored + 1, reports, reserved=reserved)
            self._stored += len(reports)
        for item in items:
            if item.report is None:
                await self._reserve(item)

    async def _reserve(self, item: _Item) -> None:
        try:
            await self._store.charge(self._lease, self._stored + 1, item.money)
        except BudgetExceededError as error:
            item.refusal = error
            return
        self._stored += 1
        self._reserved.append(item.money)
