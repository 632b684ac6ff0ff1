"""Goodput as a function of the slots, from the run times at the numbers that were tested.

The model has a knee: `time = alone * (1 + (slots / knee) ** sharpness) ** (1 / sharpness)`. Below the knee further jobs
cost nothing, far above it they share a fixed capacity; the sharpness says how sudden the transition is. All
knees and sharpnesses of a grid are weighed by how well they explain the measurements, so noisy levels count together
and none of them decides alone. `agentpool_worker.slots.search` asks for the best number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from agentpool_worker.slots.speed import slowdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_worker.slots.speed import Level

SHARPNESSES = (1.0, 2.0, 5.0, 20.0)
KNEE_STEPS = 8  # knees of the grid for each doubling
LATENCY_PRICE = 0.4  # of goodput, as a share, for run time: 1 % more goodput may cost 2.5 % more run time
MISFIT, MISFIT_OF_POINT = 14.0, 3.0  # sum of squared errors above which measurements contradict each other
LEAST_ERROR = 0.06  # of a level, in logarithms: the model is no better than that


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A measurement."""

    slots: int
    time: float  # logarithm of the run time, relative to a common base
    error: float  # standard error of `time`


def points(levels: Sequence[Level]) -> list[Point]:
    """Return the run times of the levels, relative to the level of the most samples."""
    base = max(levels, key=lambda level: level.count)
    found = [Point(slots=base.slots, time=0.0, error=LEAST_ERROR)]
    for level in levels:
        slower = slowdown(base, level) if level is not base else None
        if slower is not None:
            found.append(Point(slots=level.slots, time=slower.log, error=math.hypot(slower.error, LEAST_ERROR)))
    return found


def contradict(measured: Sequence[Point], most: int) -> bool:
    """Whether no model explains the measurements, as when the resource has changed between them."""
    return min(_misfit(measured, model) for model in _models(most)) > MISFIT + MISFIT_OF_POINT * len(measured)


def best(measured: Sequence[Point], most: int) -> int:
    """Return the number of slots, up to `most`, from which on more goodput costs too much run time."""
    weights = _weights(measured, most)

    def value(slots: int) -> float:
        return math.log(slots) - (1 + LATENCY_PRICE) * sum(weight * _time(slots, *model) for weight, model in weights)

    low, high = 1, most  # the value rises to its maximum, and falls from there
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if value(middle + 1) > value(middle) else (low, middle)
    return low


def _weights(measured: Sequence[Point], most: int) -> list[tuple[float, tuple[float, float]]]:
    """Return the models that explain the measurements, with their probabilities."""
    fits = [(_misfit(measured, model), model) for model in _models(most)]
    best = min(misfit for misfit, _ in fits)
    likely = [(math.exp((best - misfit) / 2), model) for misfit, model in fits if misfit < best + 20]
    total = sum(weight for weight, _ in likely)
    return [(weight / total, model) for weight, model in likely]


def _misfit(measured: Sequence[Point], model: tuple[float, float]) -> float:
    """Return the sum of squared errors, at the run time alone that fits best."""
    rows = [(point.time - _time(point.slots, *model), 1 / point.error**2) for point in measured]
    alone = sum(rest * weight for rest, weight in rows) / sum(weight for _, weight in rows)
    return sum(weight * (rest - alone) ** 2 for rest, weight in rows)


@lru_cache(maxsize=64)
def _models(most: int) -> tuple[tuple[float, float], ...]:
    """Return knees from below 1 to above `most`, with each sharpness."""
    steps = range(-KNEE_STEPS, math.ceil(math.log2(4 * most) * KNEE_STEPS) + 1)
    return tuple((2 ** (step / KNEE_STEPS), sharpness) for step in steps for sharpness in SHARPNESSES)


@lru_cache(maxsize=20_000)
def _time(slots: int, knee: float, sharpness: float) -> float:
    """Return the logarithm of the model's run time, relative to the time alone."""
    ratio = sharpness * math.log(slots / knee)
    return ratio / sharpness if ratio > 500 else math.log1p(math.exp(ratio)) / sharpness  # noqa: PLR2004 - no overflow
