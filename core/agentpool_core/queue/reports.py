"""A running job's side of its queue: checkpoint, progress, steps, output, usage, and signals, under the job's lease.

The scripts `report`, `emit` and `spend` write, and refuse a lease that has passed to a different worker.
`consumer` claims and settles the jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.errors import BudgetExceededError, QueueError, StaleLeaseError
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.json_text import encode
from agentpool_core.queue.codec.layout import step_text
from agentpool_core.queue.connection.client import ask
from agentpool_core.queue.connection.error_translation import Reading
from agentpool_core.queue.groups import GroupReports
from agentpool_core.queue.steps import stored_steps
from agentpool_core.queue.usage import BILLION

if TYPE_CHECKING:
    from agentpool_core.jobs import Json, Lease, Step, WorkerId
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.queue.keys import Keys
    from agentpool_core.queue.usage import UsageReport


@dataclass(frozen=True, kw_only=True, slots=True)
class Emission:
    """Chunks that a running job adds to its output."""

    lease: Lease
    first: int  # number of the first chunk within the run, from 1
    chunks: Sequence[str]  # JSON texts


def check_emitted(lease: Lease, outcome: str) -> None:
    """Raise the error of an outcome of `emit_all`, if any: StaleLeaseError, or QueueError."""
    if outcome == "stale":
        raise StaleLeaseError(lease.job_id, lease.token)
    if outcome != "ok":
        raise QueueError(
            f"the output of job {lease.job_id} cannot be stored: its key in Redis is no stream",
            remedy="delete the key, which a different program has written",
        )


class JobReports(GroupReports):
    """Reports of a worker's running jobs."""

    _redis: RedisClient
    _keys: Keys
    _conf: str
    worker: WorkerId

    async def checkpoint(self, lease: Lease, state: Json) -> None:
        """Save state for a later attempt. Raises StaleLeaseError if the lease has passed to a different worker."""
        await self._note(lease, "checkpoint", state)

    async def progress(self, lease: Lease, value: Json) -> None:
        """Report progress. Raises StaleLeaseError if the lease has passed to a different worker."""
        await self._note(lease, "progress", value)

    async def steps(self, lease: Lease) -> list[Step]:
        """Return the steps stored by earlier attempts, with results. An unreadable step is left out, and runs again."""
        key = self._keys.job(lease.job_id)
        return await stored_steps(self._redis, key, with_results=True)

    async def record_steps(self, lease: Lease, steps: Sequence[Step]) -> None:
        """Store steps and results in a single round trip. Safe to repeat: a step has a fixed number.

        Raises StaleLeaseError if the lease has passed to a different worker; then nothing was stored.
        """
        args: list[scripts.Arg] = [lease.job_id, lease.token, "steps", max(step.number for step in steps), self.worker]
        for step in steps:
            args += (step.number, step_text(step), encode(f"result of step {step.name!r}", step.result))
        if await scripts.REPORT.run(self._redis, self._conf, args) != ["ok"]:
            raise StaleLeaseError(lease.job_id, lease.token)

    async def emit(self, lease: Lease, first: int, chunks: Sequence[str]) -> None:
        """Append chunks (JSON texts) numbered from `first` to the job's output. Safe to repeat.

        Raises StaleLeaseError if the lease has passed to a different worker; then nothing was stored.
        """
        (outcome,) = await self.emit_all([Emission(lease=lease, first=first, chunks=chunks)])
        check_emitted(lease, outcome)

    async def emit_all(self, emissions: Sequence[Emission]) -> list[str]:
        """Append chunks to the output of any number of jobs in a single round trip. Safe to repeat.

        Return an outcome for each emission, which `check_emitted` turns into an error.
        """
        args: list[scripts.Arg] = [self.worker]
        for emission in emissions:
            lease = emission.lease
            args += (lease.job_id, lease.token, emission.first, len(emission.chunks), *emission.chunks)
        outcomes = await scripts.EMIT.run(self._redis, self._conf, args)
        with Reading("emit"):
            return [str(outcome) for outcome, _ in zip(outcomes, emissions, strict=True)]

    async def use(self, lease: Lease, first: int, reports: Sequence[UsageReport], *, reserved: int = 0) -> None:
        """Add usage of models, in reports numbered from `first`, to the job's totals. Safe to repeat.

        `reserved`: billionths of money that `charge` has reserved for these calls. Raises StaleLeaseError if the lease
        has passed to a different worker; then nothing was added.
        """
        args: list[scripts.Arg] = [lease.job_id, lease.token, self.worker, first, reserved]
        for report in reports:
            args += (report.model, report.input_tokens, report.output_tokens, report.cost_billionths)
        await self._spend(lease, args)

    async def charge(self, lease: Lease, number: int, cost: int) -> None:
        """Reserve billionths of money in the budgets of the job. Safe to repeat; numbered with the reports of `use`.

        Raises BudgetExceededError, StaleLeaseError; then nothing was reserved.
        """
        over = await self._spend(lease, [lease.job_id, lease.token, self.worker, number, cost])
        if over:
            name, amount, left, next_window_ms = over
            with Reading("spend"):
                money = [int(billionths) / BILLION for billionths in (cost, left, amount)]
                raise BudgetExceededError(
                    budget=str(name), cost=money[0], left=money[1], amount=money[2], next_window_ms=int(next_window_ms)
                )

    async def _spend(self, lease: Lease, args: Sequence[scripts.Arg]) -> list[str]:
        """Return what a budget has left, if it refused the call."""
        reply = await scripts.SPEND.run(self._redis, self._conf, args)
        if reply[:1] == ["over"]:
            return [str(part) for part in reply[1:]]
        if reply != ["ok"]:
            raise StaleLeaseError(lease.job_id, lease.token)
        return []

    async def signal_value(self, lease: Lease, name: str, number: int) -> str | None:
        """Return the value of a stored signal of the job, as JSON text; None: it has not come."""
        (found,) = await ask(self._redis, "HMGET", self._keys.job(lease.job_id), f"sig:{name}={number}")
        with Reading("hmget"):
            return None if found is None else str(found)

    async def _note(self, lease: Lease, field: str, value: Json) -> None:
        args = (lease.job_id, lease.token, field, encode(field, value), self.worker)
        if await scripts.REPORT.run(self._redis, self._conf, args) != ["ok"]:
            raise StaleLeaseError(lease.job_id, lease.token)
