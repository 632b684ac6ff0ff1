"""Completions on their way to the queue, committed in groups.

The completions of an event-loop turn are gathered here and sent in a single script call. While Redis is away they stay,
in order; nothing is claimed meanwhile, so their number is bounded by the slots. A completion that the queue cannot
encode or refuses fails only its own job, and so does a result that differs from the schema of its kind. Failed attempts
are logged when settled. `agentpool_worker.jobs.claim_loop` carries a batch and returns its outcomes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.errors import InvalidJobError
from agentpool_core.queue.codec.json_text import encode
from agentpool_core.queue.completions import Completion, Failed, Returned, SettleOutcome, Succeeded
from agentpool_core.queue.schemas import check_value
from agentpool_core.text import render_error
from agentpool_worker.jobs.attempt_log import FailureLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentpool_core.jobs import Lease
    from agentpool_worker.telemetry.metrics import WorkerMetrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Completions sent together, with their leases."""

    completions: list[Completion]
    leases: list[Lease]

    def __len__(self) -> int:
        return len(self.completions)

    def split(self) -> list[Batch]:
        """Return a batch for each completion."""
        pairs = zip(self.completions, self.leases, strict=True)
        return [Batch(completions=[completion], leases=[lease]) for completion, lease in pairs]

    def with_replacement(self, completion: Completion) -> Batch:
        """Return a batch of one with a different completion in its place."""
        return Batch(completions=[completion], leases=self.leases)


def checked(completion: Completion, schema: str | None) -> Completion:
    """Return the completion; a failed attempt in its place if the result does not fit the schema of the kind.

    The attempt may be repeated: the answers of a model differ from one attempt to the next.
    """
    if schema is None or not isinstance(completion, Succeeded):
        return completion
    try:
        check_value("result", schema, json.loads(encode("result", completion.result)))
    except InvalidJobError as error:
        text = f"the handler returned a result that does not fit the schema of its kind: {error.field}: {error.problem}"
        return Failed(job_id=completion.job_id, token=completion.token, error=text)
    return completion


def replacement_for(completion: Completion, error: Exception) -> Failed:
    """Return the replacement for a completion that the queue cannot take."""
    action = "saved a state" if isinstance(completion, Returned) else "returned a result"
    return Failed(
        job_id=completion.job_id,
        token=completion.token,
        error=f"the handler {action} that cannot be stored: {render_error(error)}",
        retry=False,
    )


class CompletionBuffer:
    """Gathers completions; `signal` is called when there is something to carry."""

    def __init__(
        self,
        *,
        signal: Callable[[], None],
        metrics: WorkerMetrics,
        result_schema: Callable[[str], str | None] = lambda _kind: None,
    ) -> None:
        """`result_schema` returns the schema of a kind's results, as JSON; None: any result."""
        self._signal = signal
        self._result_schema = result_schema
        self._metrics = metrics
        self._failures = FailureLog()
        self._completions: list[Completion] = []
        self._leases: list[Lease] = []
        self._travelling = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def undelivered(self) -> int:
        """Completions that the queue has not confirmed."""
        return len(self._completions) + self._travelling

    @property
    def pending(self) -> bool:
        """Whether there is something to carry."""
        return bool(self._completions)

    def add(self, completion: Completion, lease: Lease) -> None:
        """Add the completion of an ended attempt."""
        self._completions.append(checked(completion, self._result_schema(lease.kind)))
        self._leases.append(lease)
        self._empty.clear()
        self._signal()

    def discard(self, lease: Lease) -> None:
        """Leave out the end of an attempt under a lost lease. The slot is free, so a claim may be due."""
        self._metrics.record_outcomes([lease.kind], [SettleOutcome.STALE])
        self._signal()

    async def wait_empty(self) -> None:
        """Return when the queue has confirmed every completion."""
        await self._empty.wait()

    def take(self, most: int) -> Batch:
        """Return the oldest completions, at most `most`; the carrier passes them to `mark_delivered` or `keep`."""
        batch = Batch(completions=self._completions[:most], leases=self._leases[:most])
        del self._completions[:most], self._leases[:most]
        self._travelling += len(batch)
        return batch

    def keep(self, batch: Batch) -> None:
        """Put back a batch that did not reach the queue; the batch goes first next time."""
        self._travelling -= len(batch)
        self._completions[:0] = batch.completions
        self._leases[:0] = batch.leases

    def mark_delivered(self, batch: Batch, outcomes: Sequence[SettleOutcome]) -> None:
        """Record the queue's answer to a batch."""
        self._travelling -= len(batch)
        self._metrics.record_outcomes([lease.kind for lease in batch.leases], outcomes)
        self._failures.record(batch.leases, batch.completions, outcomes)
        if not self.undelivered:
            self._empty.set()
        if SettleOutcome.STALE in outcomes:
            stale = [c.job_id for c, o in zip(batch.completions, outcomes, strict=True) if o is SettleOutcome.STALE]
            log.warning(
                "%d finished jobs were refused, because their leases had passed to other workers: %s",
                len(stale), ", ".join(stale[:10]),
            )  # fmt: skip

    def close(self) -> None:
        """Write the remaining log lines; nothing is added any more."""
        self._failures.close()
