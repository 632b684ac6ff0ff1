"""Records the run times of jobs together with the number of jobs that ran beside each.

The concurrency of a job is the mean number of running jobs over its run: the difference of an integral at its end and
at its start. A recorder that is off costs one comparison a job. `agentpool_worker.jobs.running_jobs` reports starts and
ends, `agentpool_worker.slots.adaptive` takes the samples once a period.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from agentpool_worker.slots.observation import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SAMPLES = 1_000  # of a period, and running jobs that are looked at


class Work(Enum):
    """Information of an attempt about the speed of its kind."""

    DONE = "done"  # it ran to its end: a sample
    REFUSED = "refused"  # the handler was overloaded: its time was wasted
    UNKNOWN = "unknown"  # failed, stopped or waiting: nothing


class Reporting(Protocol):
    """A running job that counts its own reports."""

    @property
    def reports(self) -> int:
        """Reports of progress and chunks of output so far."""


class Recorded(NamedTuple):
    """The recording of a period."""

    mean_used: float  # running jobs, on average
    wasted: float  # slots in attempts that were refused for overload, on average
    samples: list[Sample]  # ended jobs, and units
    running: list[Sample]  # running jobs so far


class Run:
    """A running job."""

    __slots__ = ("area", "at", "counted", "job", "kind", "unit_area", "unit_at")

    def __init__(self, kind: str, job: Reporting, at: float, area: float) -> None:
        self.kind = kind
        self.job = job
        self.at = self.unit_at = at
        self.area = self.unit_area = area
        self.counted = 0  # reports in earlier samples


class Recorder:
    """Collects samples between two decisions. Used from the jobs' event loop only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.is_on = False
        self._runs: set[Run] = set()
        self._area = 0.0  # running jobs, integrated over time
        self._moved_at = clock()
        self._asked = (self._moved_at, 0.0)  # time and area of the last question
        self._samples: list[Sample] = []
        self._wasted_seconds = 0.0  # of slots in attempts that did not do their work

    def begin(self, kind: str, job: Reporting) -> Run | None:
        """Record the start of a job; None: recording is off."""
        if not self.is_on:
            return None
        now = self._move()
        run = Run(kind, job, now, self._area)
        self._runs.add(run)
        return run

    def end(self, run: Run | None, work: Work) -> None:
        """Record the end of an attempt."""
        if run is None:
            return
        now = self._move()
        self._runs.discard(run)
        if work is Work.REFUSED:
            self._wasted_seconds += now - run.at
        elif work is Work.DONE and len(self._samples) < MOST_SAMPLES:
            self._samples.append(self._sample(run, now))

    def take(self) -> Recorded:
        """Return the recording since the last call."""
        now = self._move()
        (asked_at, area), self._asked = self._asked, (now, self._area)
        seconds = max(now - asked_at, 1e-9)
        wasted, self._wasted_seconds = self._wasted_seconds / seconds, 0.0
        samples, self._samples = self._samples, []
        runs = [run for run, _ in zip(self._runs, range(MOST_SAMPLES), strict=False)]
        units = [sample for run in runs if (sample := self._unit(run, now)) is not None]
        running = [self._sample(run, now) for run in runs]
        mean = (self._area - area) / seconds
        return Recorded(mean_used=mean, wasted=wasted, samples=samples + units, running=running)

    def _move(self) -> float:
        now = self._clock()
        self._area += len(self._runs) * (now - self._moved_at)
        self._moved_at = now
        return now

    def _sample(self, run: Run, now: float) -> Sample:
        seconds = now - run.at
        mean = (self._area - run.area) / seconds if seconds > 0 else float(len(self._runs))
        return Sample(kind=run.kind, seconds=seconds, concurrency=mean)

    def _unit(self, run: Run, now: float) -> Sample | None:
        """Return the time for a unit since the job's last sample; None without a new unit."""
        reports = run.job.reports
        count, seconds = reports - run.counted, now - run.unit_at
        if not count or seconds <= 0:
            return None
        mean = (self._area - run.unit_area) / seconds
        run.counted, run.unit_at, run.unit_area = reports, now, self._area
        return Sample(kind=run.kind, seconds=seconds / count, concurrency=mean, is_unit=True)
