"""Completions on their way to the queue, group-committed.

The completions of one event-loop turn gather here and leave in one script call. While Redis is away they stay, in
order; nothing is claimed meanwhile, so there are never more than the slots can have produced. One that the queue
cannot encode or refuses to take fails its own job and none beside it.
Who takes over next: `agentpool_worker.claim_loop` carries a batch and brings its outcomes back.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool.queue.outcomes import Completion, Failed, Returned, SettleOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentpool_worker.metrics import WorkerMetrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Completions that travel together, and each one's kind of job."""

    completions: list[Completion]
    kinds: list[str]

    def __len__(self) -> int:
        return len(self.completions)

    def split(self) -> list[Batch]:
        """One batch for each completion."""
        pairs = zip(self.completions, self.kinds, strict=True)
        return [Batch(completions=[completion], kinds=[kind]) for completion, kind in pairs]


def unfit(completion: Completion, error: Exception) -> Failed:
    """What is sent in place of a completion that the queue cannot take."""
    what = "saved a state" if isinstance(completion, Returned) else "returned a result"
    return Failed(
        job_id=completion.job_id,
        token=completion.token,
        error=f"the handler {what} that cannot be kept: {type(error).__name__}: {error}",
        retry=False,
    )


class Flusher:
    """Gathers completions; `signal` is called when there is something to carry."""

    def __init__(self, *, signal: Callable[[], None], metrics: WorkerMetrics) -> None:
        self._signal = signal
        self._metrics = metrics
        self._completions: list[Completion] = []
        self._kinds: list[str] = []
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

    def add(self, completion: Completion, kind: str) -> None:
        """An attempt ended."""
        self._completions.append(completion)
        self._kinds.append(kind)
        self._empty.clear()
        self._signal()

    async def wait_empty(self) -> None:
        """Returns when the queue has confirmed every completion."""
        await self._empty.wait()

    def take(self, most: int) -> Batch:
        """The oldest completions, `most` at most; the carrier calls `delivered` or `keep` with them."""
        batch = Batch(completions=self._completions[:most], kinds=self._kinds[:most])
        del self._completions[:most], self._kinds[:most]
        self._travelling += len(batch)
        return batch

    def keep(self, batch: Batch) -> None:
        """The queue was not reached: the batch goes first next time."""
        self._travelling -= len(batch)
        self._completions[:0] = batch.completions
        self._kinds[:0] = batch.kinds

    def delivered(self, batch: Batch, outcomes: Sequence[SettleOutcome]) -> None:
        """The queue has answered."""
        self._travelling -= len(batch)
        self._metrics.settled(batch.kinds, outcomes)
        if not self.undelivered:
            self._empty.set()
        if SettleOutcome.STALE in outcomes:
            stale = [c.job_id for c, o in zip(batch.completions, outcomes, strict=True) if o is SettleOutcome.STALE]
            log.warning(
                "%d finished jobs were refused: their leases had passed to other workers: %s",
                len(stale), ", ".join(stale[:10]),
            )  # fmt: skip
