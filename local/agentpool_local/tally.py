"""Counts what became of the demo's jobs, from the pool's event stream and from the agents' own execution record.

The two sources are independent: the queue writes the one, the handlers the other. A run that the queue did not hand
out, or a job that succeeded more than once, is a duplicate. Who takes over next: `demo` shows and reports the counts.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from agentpool.jobs import JobEvent, JobId
    from agentpool_local.dispatch import DispatchClock

ENDINGS = frozenset({"succeeded", "failed", "cancelled", "expired"})


class Tally:
    """The jobs of one demo, as the events tell."""

    def __init__(self, dispatch: DispatchClock) -> None:
        self.dispatch = dispatch
        self._jobs: frozenset[JobId] = frozenset()
        self._claims: Counter[tuple[JobId, int]] = Counter()  # by job and attempt
        self._successes: Counter[JobId] = Counter()
        self._ended: dict[JobId, str] = {}

    def expect(self, jobs: Collection[JobId]) -> None:
        """Name the jobs that count; other jobs of the pool do not."""
        self._jobs = frozenset(jobs)

    def feed(self, events: Iterable[JobEvent]) -> None:
        """Take the next events of the stream."""
        for event in events:
            self.dispatch.feed(event)
            if event.type == "started":
                self._claims[event.job_id, event.attempt] += 1
            elif event.type in ENDINGS:
                self._ended[event.job_id] = event.type
                self._successes[event.job_id] += event.type == "succeeded"

    @property
    def expected(self) -> int:
        """Jobs that count."""
        return len(self._jobs)

    @property
    def succeeded(self) -> int:
        """Jobs that ended with a result."""
        return sum(self._ended.get(job) == "succeeded" for job in self._jobs)

    @property
    def failed(self) -> int:
        """Jobs that ended without one, in whatever way."""
        return sum(self._ended.get(job, "succeeded") != "succeeded" for job in self._jobs)

    @property
    def done(self) -> bool:
        """Whether every job has ended."""
        return all(job in self._ended for job in self._jobs)

    def duplicates(self, record: Path) -> int:
        """Count the runs that no claim explains, and the successes of a job beyond its first."""
        unexplained = runs_in(record) - self._claims
        return unexplained.total() + sum(max(0, self._successes[job] - 1) for job in self._jobs)


def runs_in(record: Path) -> Counter[tuple[JobId, int]]:
    """Count the runs in an execution record, by job and attempt; a line that its writer could not finish is none."""
    runs: Counter[tuple[JobId, int]] = Counter()
    for file in record.glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["event"] == "began":
                runs[entry["job"], entry["attempt"]] += 1
    return runs
