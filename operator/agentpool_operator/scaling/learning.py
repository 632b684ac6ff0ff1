"""Figures learned from what the operator sees: how long jobs run, how long a worker takes to start.

Both are exponential averages, so that a changed program is believed after a handful of samples and one odd
sample is not. `demand` reads the service time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_operator.scaling.memory import Learned

if TYPE_CHECKING:
    from agentpool_operator.scaling.observation import Backlog, Counters, Observation

SAMPLES_REMEMBERED = 50  # jobs: an average reaches back over about as many
STARTS_REMEMBERED = 5  # pod starts, likewise; starts are rare and alike


def learned(before: Learned, observation: Observation, backlog: Backlog) -> Learned:
    """What is known after one more observation."""
    return Learned(
        service_s=_service_time(before, backlog.counters),
        startup_s=_startup_time(before.startup_s, observation.startup_samples_s),
        counters=backlog.counters,
    )


def _service_time(before: Learned, counters: Counters) -> float | None:
    """Mean seconds of a job, from the growth of the queue's counters; as before where none ended."""
    if before.counters is None or counters.finished < before.counters.finished:
        finished, run_s = counters.finished, counters.run_s  # first reading, or a purged queue
    else:
        finished = counters.finished - before.counters.finished
        run_s = counters.run_s - before.counters.run_s
    if finished <= 0 or run_s < 0:
        return before.service_s
    mean = run_s / finished
    if before.service_s is None:
        return mean
    weight = min(1.0, finished / SAMPLES_REMEMBERED)
    return before.service_s + weight * (mean - before.service_s)


def _startup_time(before: float | None, samples: tuple[float, ...]) -> float | None:
    estimate = before
    for sample in samples:
        estimate = sample if estimate is None else estimate + (sample - estimate) / STARTS_REMEMBERED
    return estimate
