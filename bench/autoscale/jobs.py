"""Jobs of a simulated load. `workload` makes them, `simulator` runs them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """A job."""

    at: float  # seconds since the beginning
    service_s: float  # run time in seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Jobs in order of arrival."""

    name: str
    jobs: tuple[Job, ...]

    @property
    def span_s(self) -> float:
        """Seconds from the beginning to the last arrival."""
        return self.jobs[-1].at if self.jobs else 0.0
