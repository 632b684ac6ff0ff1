"""Calls of a running job to the queue: save state, report progress, submit a child.

While Redis is away the job continues as long as possible: progress without an observer is dropped, a checkpoint waits
until the state is stored, and a child until it is kept. `agentpool_core.queue.consumer` and
`agentpool_core.queue.producer` take over next.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from agentpool_core.errors import QueueMemoryError, QueueUnreachableError
from agentpool_core.process.cancellation import raise_lost
from agentpool_core.queue.codec.requests import new_id
from agentpool_core.queue.reports import Emission, check_emitted
from agentpool_worker.durable.shared_writes import SharedWrites

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from agentpool_core.jobs import JobId, JobRequest, Lease, Receipt, Step
    from agentpool_core.queue.consumer import Consumer
    from agentpool_core.queue.groups import ChildEnd, GroupChange
    from agentpool_core.queue.producer import Producer
    from agentpool_core.queue.usage import UsageReport

log = logging.getLogger(__name__)
_T = TypeVar("_T")

MAX_WRITE_BYTES = 512 * 1024  # output in one write, and at most a chunk more
GATHER_SECONDS_A_CHUNK = 0.0005  # of the last write: the more jobs emit, the more of these share the next write
LONGEST_GATHER_SECONDS = 0.01
_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 1.0  # the job continues within a second after Redis


class QueueCalls:
    """The `JobCalls` of a worker that runs against a real queue."""

    def __init__(
        self,
        consumer: Consumer,
        producer: Producer,
        *,
        used: Callable[[str, Sequence[UsageReport]], None] = lambda _kind, _reports: None,
    ) -> None:
        self._consumer = consumer
        self._producer = producer
        self._used = used  # with the kind of the job
        self._output = SharedWrites(self._write_output, gather=gather_seconds)  # of all jobs

    async def checkpoint(self, lease: Lease, state: Any) -> None:
        """Save the job's state, however long Redis is away or full: the job's own timeout ends the wait.

        Raises StaleLeaseError.
        """
        return await _retry_until_reached(
            lambda: self._consumer.checkpoint(lease, state),
            f"job {lease.job_id} saves its state",
            waits_for=(QueueUnreachableError, QueueMemoryError),  # a full Redis empties as jobs end
        )

    async def steps(self, lease: Lease) -> list[Step]:
        """Read the steps of earlier attempts, however long Redis is away."""
        return await _retry_until_reached(lambda: self._consumer.steps(lease), f"job {lease.job_id} reads its steps")

    async def record_steps(self, lease: Lease, steps: Sequence[Step]) -> None:
        """Store steps, however long Redis is away or full, like a checkpoint. Raises StaleLeaseError."""
        return await _retry_until_reached(
            lambda: self._consumer.record_steps(lease, steps),
            f"job {lease.job_id} stores its steps",
            waits_for=(QueueUnreachableError, QueueMemoryError),
        )

    async def emit(self, lease: Lease, first: int, chunks: Sequence[str]) -> None:
        """Store output, however long Redis is away or full, like a checkpoint. Raises StaleLeaseError.

        Jobs that emit during a write share the next one.
        """
        outcome: list[str] = []
        await self._output.add((Emission(lease=lease, first=first, chunks=chunks), outcome))
        check_emitted(lease, outcome[0])

    async def _write_output(self, items: Sequence[tuple[Emission, list[str]]]) -> None:
        for part in _parts_of(items):
            for (_, outcome), found in zip(part, await self._emit_all([item[0] for item in part]), strict=True):
                outcome.append(found)

    async def _emit_all(self, emissions: Sequence[Emission]) -> list[str]:
        return await _retry_until_reached(
            lambda: self._consumer.emit_all(emissions),
            f"{len(emissions)} jobs store output",
            waits_for=(QueueUnreachableError, QueueMemoryError),
        )

    async def use(self, lease: Lease, first: int, reports: Sequence[UsageReport], *, reserved: int = 0) -> None:
        """Store usage, however long Redis is away or full, like a checkpoint. Raises StaleLeaseError."""
        await _retry_until_reached(
            lambda: self._consumer.use(lease, first, reports, reserved=reserved),
            f"job {lease.job_id} reports its usage",
            waits_for=(QueueUnreachableError, QueueMemoryError),
        )
        self._used(lease.kind, reports)

    async def charge(self, lease: Lease, number: int, cost: int) -> None:
        """Reserve money, however long Redis is away or full. Raises BudgetExceededError, StaleLeaseError."""
        return await _retry_until_reached(
            lambda: self._consumer.charge(lease, number, cost),
            f"job {lease.job_id} reserves money",
            waits_for=(QueueUnreachableError, QueueMemoryError),
        )

    async def signal_value(self, lease: Lease, name: str, number: int) -> str | None:
        """Read a signal of the job, however long Redis is away."""
        return await _retry_until_reached(
            lambda: self._consumer.signal_value(lease, name, number), f"job {lease.job_id} looks for a signal"
        )

    async def progress(self, lease: Lease, value: Any) -> None:
        """Publish the job's progress, unless Redis is away or full. Raises StaleLeaseError."""
        try:
            await self._consumer.progress(lease, value)
        except (QueueUnreachableError, QueueMemoryError) as error:
            log.debug("progress of job %s is not published: %s", lease.job_id, error)

    async def submit(self, request: JobRequest) -> Receipt:
        """Submit a job to the worker's own pool exactly once, even if Redis is away: key or id stay the same."""
        named = request if request.job_id or request.idempotency_key else replace(request, job_id=new_id())
        return await _retry_until_reached(lambda: self._producer.submit(named), "a child is submitted")

    async def start_children(self, requests: Sequence[JobRequest]) -> None:
        """Submit children exactly once, even if Redis is away: their ids stay the same."""
        await _retry_until_reached(lambda: self._producer.submit_many(requests), "children are submitted")

    async def child_ends(self, lease: Lease, group: str, size: int) -> list[ChildEnd | None]:
        """Read how the children of a group ended, however long Redis is away."""
        return await _retry_until_reached(
            lambda: self._consumer.child_ends(lease, group, size), f"job {lease.job_id} reads its children"
        )

    async def change_group(
        self, lease: Lease, change: GroupChange, group: str, ids: Sequence[tuple[int, JobId]], how: int | str
    ) -> tuple[int, list[int]]:
        """Change children of a group, however long Redis is away. Raises StaleLeaseError."""
        return await _retry_until_reached(
            lambda: self._consumer.change_group(lease, change, group, ids, how),
            f"job {lease.job_id} changes its children",
            waits_for=(QueueUnreachableError, QueueMemoryError),
        )


def gather_seconds(chunks: int) -> float:
    """Return for how long output gathers after a write of so many chunks; a job that emits alone waits for nothing."""
    return min(max(0, chunks - 1) * GATHER_SECONDS_A_CHUNK, LONGEST_GATHER_SECONDS)


def _parts_of(items: Sequence[tuple[Emission, list[str]]]) -> Iterator[Sequence[tuple[Emission, list[str]]]]:
    """Split emissions into parts of about MAX_WRITE_BYTES: a long write would hold up every client of the server."""
    begin = size = 0
    for place, (emission, _) in enumerate(items):
        size += sum(map(len, emission.chunks))
        if size >= MAX_WRITE_BYTES:
            yield items[begin : place + 1]
            begin, size = place + 1, 0
    if begin < len(items):
        yield items[begin:]


async def _retry_until_reached(
    ask: Callable[[], Awaitable[_T]],
    action: str,
    *,
    waits_for: tuple[type[Exception], ...] = (QueueUnreachableError,),
) -> _T:
    """Return the queue's answer as soon as Redis is reachable; the job's own timeout ends the wait."""
    pause = _FIRST_RETRY_SECONDS
    while True:
        try:
            return await ask()
        except waits_for as error:
            log.debug("%s when Redis answers again: %s", action, error)
        raise_lost()
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_RETRY_SECONDS)
