"""The journal of a job: steps of earlier attempts, read once, and steps of this attempt, written under the lease.

Steps that end in the same turn of the event loop, or while a write is under way, share the next write. A step is
finished only when its write is confirmed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from agentpool_core.queue.codec.json_text import encode
from agentpool_core.queue.steps import MAX_STEPS
from agentpool_worker.durable.shared_writes import SharedWrites
from agentpool_worker.exceptions import StepResultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agentpool_core.jobs import Lease, Step

MAX_JOB_BYTES = 16 * 1024 * 1024  # results of all steps of a job


class StepStore(Protocol):
    """How a journal reaches the queue."""

    async def steps(self, lease: Lease) -> list[Step]:
        """Return the stored steps of the job, with results."""

    async def record_steps(self, lease: Lease, steps: Sequence[Step]) -> None:
        """Store steps. Raises StaleLeaseError if the lease has passed to a different worker."""


class Journal:
    """The steps of a job, as one attempt sees and extends them."""

    def __init__(self, lease: Lease, store: StepStore) -> None:
        self.lease = lease
        self._store = store
        self._by_name: dict[str, Step] = {}
        self._sizes: dict[str, int] = {}  # bytes of each result
        self._used: set[str] = set()
        self._bytes = 0
        self._last = 0
        self._opening: asyncio.Future[None] | None = None
        self._writes = SharedWrites(self._record)

    async def open(self) -> None:
        """Read the steps of earlier attempts, once. The first lease of a job has none, and reads nothing."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._read())
        await asyncio.shield(self._opening)

    def find(self, name: str) -> Step | None:
        """Return the stored step of this name."""
        return self._by_name.get(name)

    def mark_used(self, name: str) -> None:
        """Note that this attempt has reached the step."""
        self._used.add(name)

    def unused(self) -> Iterable[Step]:
        """Return the stored steps that this attempt has not reached."""
        return (step for step in self._by_name.values() if step.name not in self._used)

    def all(self) -> Iterable[Step]:
        """Return all stored steps."""
        return self._by_name.values()

    def goes_on_after(self, name: str) -> bool:
        """Return whether an earlier attempt continued after this step."""
        return any(step.after == name for step in self._by_name.values())

    def number_for(self, name: str) -> int:
        """Return the number of a step: its number in the store, or the next free number. Raises StepResultError."""
        if (stored := self._by_name.get(name)) is not None:
            return stored.number
        if self._last >= MAX_STEPS:
            raise StepResultError(name, f"the job has {MAX_STEPS} steps already", "split the work into child jobs")
        self._last += 1
        return self._last

    async def write(self, step: Step) -> None:
        """Store a step; return when the store has confirmed it. Raises StaleLeaseError, StepResultError."""
        size = len(encode(f"result of step {step.name!r}", step.result))
        if self._bytes + size - self._sizes.get(step.name, 0) > MAX_JOB_BYTES:
            problem = f"the results of the job's steps would have more than {MAX_JOB_BYTES} bytes"
            raise StepResultError(step.name, problem, "store the data elsewhere, and return a reference")
        self._keep(step, size)
        await self._writes.add(step)

    async def _record(self, steps: list[Step]) -> None:
        await self._store.record_steps(self.lease, steps)

    async def _read(self) -> None:
        if self.lease.token > 1:
            for step in await self._store.steps(self.lease):
                self._keep(step, len(encode("result", step.result)))

    def _keep(self, step: Step, size: int) -> None:
        self._by_name[step.name] = step
        self._bytes += size - self._sizes.get(step.name, 0)
        self._sizes[step.name] = size
        self._last = max(self._last, step.number)
