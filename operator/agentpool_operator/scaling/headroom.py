"""Workers for a forecast number of busy slots: the size at which a further worker costs more than it saves in waiting.

The forecast looks ahead by a start-up time. Of the jobs in the system a share ends until then (run times that are
exponential: `exp(-start-up / service)` stay), and arrivals at the learned rate join; both with their variance, as in a
queue with infinite servers. Jobs that run long so make the number predictable, and a pool of quick jobs is sized by its
arrivals.

For each size, the wait that one job in a hundred exceeds follows from Erlang's delay formula in its square-root form
(Halfin and Whitt, 1981, https://doi.org/10.1287/opre.29.3.567), and is at most a start-up time, because a shortage
starts workers. A wait as long as the target is worth as much as doubling the pool: the size with the lowest
`(wait + target) x workers` wins. `reaction` handles jobs that wait already; `assessment` takes the larger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HARDLY_EVER = 3.0  # standard deviations
EXCEEDED_BY = 0.01  # share of the jobs that may wait longer: the 99th percentile


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Busy slots at the time when a worker that starts now is ready."""

    mean: float
    variance: float
    most: float  # not exceeded: all present jobs stay, and as many arrive as hardly ever do


def forecast(*, busy: float, rate: float, service_s: float, startup_s: float) -> Forecast:
    """Return the busy slots after a start-up time; `rate` is in jobs a second."""
    gone = -math.expm1(-startup_s / service_s)
    joined = rate * service_s * gone
    return Forecast(
        mean=busy * (1.0 - gone) + joined,
        variance=busy * gone * (1.0 - gone) + joined,
        most=busy + joined + HARDLY_EVER * math.sqrt(joined),
    )


def cheapest_size(
    ahead: Forecast, *, service_s: float, startup_s: float, target_s: float, slots: float, most: int
) -> int:
    """Return the workers with the lowest cost of waiting and hours; 0 for an expected load of nothing."""
    if ahead.mean <= 0:
        return 0
    best, best_cost = 0, math.inf
    most = min(most, math.ceil(ahead.most / slots))
    for workers in range(math.floor(ahead.mean / slots) + 1, most + 1):
        wait_s = min(startup_s, _late_wait_s(ahead, workers * slots, service_s))
        cost = (wait_s + target_s) * workers
        if cost < best_cost:
            best, best_cost = workers, cost
        if wait_s <= 0:
            break  # more workers only cost more
    return best or most


def _late_wait_s(ahead: Forecast, slots: float, service_s: float) -> float:
    """Return the wait that `EXCEEDED_BY` of the jobs exceed, in seconds."""
    free = slots - ahead.mean
    if free <= 0:
        return math.inf
    beta = free / math.sqrt(ahead.variance) if ahead.variance > 0 else math.inf
    delayed = _delay_probability(beta)
    return max(0.0, math.log(delayed / EXCEEDED_BY)) * service_s / free if delayed > EXCEEDED_BY else 0.0


def _delay_probability(beta: float) -> float:
    """Return the probability that a job waits with a safety of `beta` standard deviations."""
    if beta > 8.0:  # noqa: PLR2004 - beyond it is below a double's precision
        return 0.0
    density = math.exp(-beta * beta / 2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + math.erf(beta / math.sqrt(2)))
    return 1.0 / (1.0 + beta * below / density)
