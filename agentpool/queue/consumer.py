"""A worker's side of the queue. (Typed signatures; the scripts follow.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from agentpool.jobs import Json, Lease, PoolRef, WorkerId
    from agentpool.queue.outcomes import Completion, Control, Maintenance, Renewal, SettleOutcome
    from agentpool.queue.settings import PoolSettings


class Consumer:
    """One worker's hold on one pool's queue."""

    def __init__(self, redis: Redis, pool: PoolRef, worker: WorkerId) -> None: ...

    async def register(self, *, slots: int, host: str) -> PoolSettings:
        """Announces the worker, and takes out its lease. Raises UnknownPoolError where the pool has no settings."""
        raise NotImplementedError

    async def settings(self) -> PoolSettings:
        """The pool's settings as they are now. Raises UnknownPoolError where there are none."""
        raise NotImplementedError

    async def claim(self, limit: int) -> list[Lease]:
        """Takes up to `limit` jobs, the most urgent first, in one round trip. [] also when paused or not registered."""
        raise NotImplementedError

    async def settle(self, completions: Sequence[Completion]) -> list[SettleOutcome]:
        """Ends attempts, in one round trip; one outcome for each, in order."""
        raise NotImplementedError

    async def exchange(
        self, completions: Sequence[Completion], limit: int
    ) -> tuple[list[SettleOutcome], list[Lease]]:
        """`settle` and `claim` in one round trip."""
        raise NotImplementedError

    async def renew(self, *, slots: int, running: int) -> Renewal:
        """Extends the worker's lease, and so the lease of each job it holds: one write, however many they are."""
        raise NotImplementedError

    async def wait(self, timeout_ms: int, *, for_work: bool = True) -> list[Control]:
        """Blocks until the bell or an order; [] when `timeout_ms` passed. `for_work=False`: orders only."""
        raise NotImplementedError

    async def checkpoint(self, lease: Lease, state: Json) -> None:
        """Saves state for a later attempt. Raises StaleLeaseError where the lease has passed on."""
        raise NotImplementedError

    async def progress(self, lease: Lease, value: Json) -> None:
        """Reports progress. Raises StaleLeaseError where the lease has passed on."""
        raise NotImplementedError

    async def maintain(self) -> Maintenance:
        """Due jobs, ttl, lost workers; any worker may call it, once a second or when `next_due_ms` says so."""
        raise NotImplementedError

    async def deregister(self) -> None:
        """Gives up the lease; what is still held becomes ready again, as after a loss. Safe to call twice."""
        raise NotImplementedError
