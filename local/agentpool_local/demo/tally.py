"""Count the outcomes of the demo's jobs, from the pool's event stream and from the agents' execution record.

The two sources are independent: the queue writes the stream, the handlers write the record. A run that the queue did
not hand out, or a job that succeeded more than once, is a duplicate. `run` shows and reports.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agentpool_local.demo.execution_record import Attempt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from agentpool_core.jobs import JobEvent, JobId, WorkerId
    from agentpool_local.demo.dispatch import DispatchClock
    from agentpool_local.demo.execution_record import ExecutionRecord

ENDINGS = frozenset({"succeeded", "failed", "cancelled", "expired"})


class Tally:
    """The jobs of a demo, according to the events and the record."""

    def __init__(self, dispatch: DispatchClock, record: ExecutionRecord) -> None:
        self._dispatch = dispatch
        self._record = record
        self._jobs: frozenset[JobId] = frozenset()
        self._claims: Counter[Attempt] = Counter()
        self._successes: Counter[JobId] = Counter()
        self._ended: dict[JobId, str] = {}

    def expect(self, jobs: Collection[JobId]) -> None:
        """Name the jobs that count; other jobs of the pool do not."""
        self._jobs = frozenset(jobs)

    def feed(self, events: Iterable[JobEvent]) -> None:
        """Read the next events of the stream, and new lines of the record."""
        for event in events:
            self._dispatch.feed(event)
            if event.type == "started":
                self._claims[Attempt(event.job_id, event.attempt)] += 1
            elif event.type in ENDINGS:
                self._ended[event.job_id] = event.type
                self._successes[event.job_id] += event.type == "succeeded"
        self._record.read()

    def retire(self, registered: Collection[WorkerId]) -> None:
        """Name the registered workers."""
        self._dispatch.retire(registered)

    @property
    def expected(self) -> int:
        """Return the number of jobs that count."""
        return len(self._jobs)

    @property
    def succeeded(self) -> int:
        """Return the number of jobs that ended with a result."""
        return sum(self._ended.get(job) == "succeeded" for job in self._jobs)

    @property
    def failed(self) -> int:
        """Return the number of jobs that ended without a result."""
        return sum(self._ended.get(job, "succeeded") != "succeeded" for job in self._jobs)

    @property
    def done(self) -> bool:
        """Whether every job has ended."""
        return all(job in self._ended for job in self._jobs)

    @property
    def duplicates(self) -> int:
        """Return the number of runs without a claim, plus successes of a job beyond the first."""
        unexplained = self._record.runs - self._claims
        return unexplained.total() + sum(max(0, self._successes[job] - 1) for job in self._jobs)

    def delays_ms(self) -> list[float]:
        """From being able to run to the handler's first line; to the claim where the record does not reach us.

        The record's clock is the workers', so on hosts of their own the figure carries the clocks' difference.
        """
        began = self._record.began_at_ms
        return [
            max(0.0, began.get(attempt, claimed_at) - could_run_at)
            for attempt, (could_run_at, claimed_at) in self._dispatch.claims.items()
            if attempt.job in self._jobs
        ]
