"""Learned figures: run time of jobs, start-up time of workers, arrival rate.

The service time is the busy time of slots divided by the jobs that ended meanwhile, with exponential decay: unlike the
mean of ended jobs it is right at the beginning too, when only short jobs have ended. `reaction`, `keep_warm` and
`demand` read the figures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentpool_operator.scaling.memory import Arrival, Learned, Rate

if TYPE_CHECKING:
    from agentpool_operator.scaling.observation import Backlog, Counters, Observation

HALF_LIFE_SECONDS = 600.0  # half-life of observations in seconds: longer than bursts, shorter than a day's swing
STARTS_REMEMBERED = 5  # pod starts that the average reaches back over; starts are rare and alike
RECENT_SECONDS = 60.0  # time constant of the present rate: the stable window of Knative's autoscaler
LONGER_SECONDS = 600.0  # time constant of the rate of a pool with few jobs
SILENT_JOBS = 3.0  # expected arrivals without any: the chance of that is one in twenty
ENOUGH_JOBS = 10.0  # arrivals: fewer say little about a rate
SHORTEST_LOOK_SECONDS = 5.0  # of arrivals that are kept at least


def learn(before: Learned, observation: Observation, backlog: Backlog, now: float) -> Learned:
    """Return the figures after a further observation."""
    counters = backlog.counters
    known = before.counters if before.counters is not None and not _has_restarted(before.counters, counters) else None
    past_s = 0.0 if before.at is None else max(0.0, now - before.at)
    fading = 0.5 ** (past_s / HALF_LIFE_SECONDS)
    if known is None:  # the first observation, or a purged queue: only the queue's totals are known
        busy_s, ended = counters.run_s, float(counters.finished)
    else:
        busy_s = (before.busy_s + backlog.running * past_s) * fading
        ended = (before.ended + counters.finished - known.finished) * fading
    startup_s = _startup_time(before.startup_s, observation.startup_samples_s)
    arrived = 0 if known is None else max(0, counters.submitted - known.submitted)
    return Learned(
        at=now,
        busy_s=busy_s,
        ended=ended,
        startup_s=startup_s,
        counters=counters,
        arrived=arrived,
        arrivals=_arrivals(before, now, arrived, startup_s),
        arrived_at=now if arrived else before.arrived_at,
        recent=_faded(before.recent, arrived, past_s, RECENT_SECONDS),
        longer=_faded(before.longer, arrived, past_s, LONGER_SECONDS),
    )


def expected_rate(known: Learned) -> float:
    """Return the jobs per second to expect: of the last minute, or of ten minutes if the minute had few arrivals.

    0 after a silence in which `SILENT_JOBS` would have arrived: the load is over.
    """
    rate = (known.recent if known.recent.jobs >= ENOUGH_JOBS else known.longer).per_s
    if known.at is None or known.arrived_at is None or (known.at - known.arrived_at) * rate > SILENT_JOBS:
        return 0.0
    return rate


def rate_of(arrivals: tuple[Arrival, ...], now: float, window_s: float) -> float:
    """Return the jobs per second that arrived in the window."""
    return sum(a.jobs for a in arrivals if a.at > now - window_s) / window_s if window_s > 0 else 0.0


def _faded(before: Rate, arrived: int, past_s: float, over_s: float) -> Rate:
    fading = math.exp(-past_s / over_s)
    return Rate(
        jobs=before.jobs * fading + arrived,
        looks=before.looks * fading + (1 if arrived else 0),
        seconds=before.seconds * fading + over_s * (1.0 - fading),
    )


def _has_restarted(before: Counters, now: Counters) -> bool:
    return now.finished < before.finished or now.submitted < before.submitted


def _startup_time(before: float | None, samples: tuple[float, ...]) -> float | None:
    estimate = before
    for sample in samples:
        estimate = sample if estimate is None else estimate + (sample - estimate) / STARTS_REMEMBERED
    return estimate


def _arrivals(before: Learned, now: float, jobs: int, startup_s: float | None) -> tuple[Arrival, ...]:
    horizon_s = max(startup_s or 0.0, SHORTEST_LOOK_SECONDS)
    kept = tuple(a for a in before.arrivals if a.at > now - horizon_s)
    return (*kept, Arrival(at=now, jobs=jobs)) if jobs else kept
