"""Speed of jobs at different numbers of slots, from noisy run times of several kinds.

A `Level` keeps the run times that were measured at one number of slots. `slowdown` compares two levels kind by kind, so
a different mix of kinds is not mistaken for a different speed. The typical time of a kind is the median with running
jobs as censored values (Kaplan-Meier): short jobs end first, so without the running jobs a fresh level looks too fast.

Jobs of the same moment share what slows a resource, such as a neighbour's load, so more jobs make that moment no more
certain. The error of a comparison therefore has two parts, as in a meta-analysis with random effects (DerSimonian and
Laird, 1986): that of single jobs, and that of the moments in which the jobs ended.
`agentpool_worker.slots.search` decides by the comparisons.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agentpool_worker.slots.observation import Sample

TOLERANCE = 0.08  # relative difference between a sample's concurrency and the level's slots
MOST_KINDS = 32  # of a level; samples of further kinds are not used
MOST_SAMPLES = 500  # of a kind
MEDIAN_ERROR = 1.25  # standard error of a median, in standard errors of a mean
PRIOR_SPREAD = 0.4  # of the logarithm of run times, before samples show their own
PRIOR_WEIGHT = 3.0  # samples that the prior counts for
MOMENT_SECONDS = 3.0  # in which jobs count as slowed alike
MOMENTS_DOUBTED = 8.0  # moments by which a difference between few moments is lowered
FEWEST_ENDED = 3  # ended jobs of a kind in both levels; below, units of progress are compared


class Ended(NamedTuple):
    """The time of an ended job or unit."""

    log: float  # logarithm of seconds
    moment: int  # number of the moment of the end


class Key(NamedTuple):
    """A kind, as far as samples may be compared."""

    kind: str
    is_unit: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Slowdown:
    """Comparison of two levels, in natural logarithms."""

    log: float  # time at the second level / time at the first
    error: float  # standard error

    @property
    def factor(self) -> float:
        """Time at the second level / time at the first."""
        return math.exp(self.log)


class Level:
    """Run times at one number of slots."""

    def __init__(self, slots: int, since: float) -> None:
        self.slots = slots
        self.since = since  # the clock's time of the first sample
        self.count = 0  # samples so far, including those that were dropped
        self._times: dict[Key, deque[Ended]] = {}
        self._running: dict[Key, list[float]] = {}  # the same of jobs that run

    def add(self, samples: Iterable[Sample], running: Iterable[Sample], *, at: float = 0.0) -> None:
        """Add jobs and units that have just ended, at a time of the clock, and replace the running jobs."""
        moment = int(at // MOMENT_SECONDS)
        for sample in samples:
            key = Key(sample.kind, sample.is_unit)
            if self._fits(sample) and (key in self._times or len(self._times) < MOST_KINDS):
                self._times.setdefault(key, deque(maxlen=MOST_SAMPLES)).append(Ended(_log(sample.seconds), moment))
                self.count += 1
        self._running = {}
        for sample in running:
            if self._fits(sample):
                self._running.setdefault(Key(sample.kind, sample.is_unit), []).append(_log(sample.seconds))

    def absorb(self, newer: Level) -> None:
        """Add the ended jobs and units of a newer level of as many slots."""
        for key, times in newer._times.items():
            self._times.setdefault(key, deque(maxlen=MOST_SAMPLES)).extend(times)
        self._running = newer._running
        self.count += newer.count

    def keys(self) -> set[Key]:
        """Return the kinds with samples."""
        return set(self._times)

    def ended(self, key: Key) -> Sequence[Ended]:
        """Return the ended jobs or units of a kind."""
        return self._times.get(key, ())

    def times(self, key: Key) -> Sequence[float]:
        """Return the logarithms of the times of a kind."""
        return [each.log for each in self.ended(key)]

    def moments(self, keys: Iterable[Key]) -> dict[int, list[float]]:
        """Return the deviations from the mean of their kind, by the moment of the end."""
        found: dict[int, list[float]] = {}
        for ended in map(self.ended, keys):
            mean = sum(each.log for each in ended) / max(1, len(ended))
            for each in ended:
                found.setdefault(each.moment, []).append(each.log - mean)
        return found

    def typical(self, key: Key) -> float | None:
        """Return the logarithm of the median time of a kind; None while too few jobs have ended."""
        return censored_median(self.times(key), self._running.get(key, ()))

    def typical_seconds(self) -> float | None:
        """Return the run time of the kind with the most ended jobs; None before any."""
        known = [(len(self.times(key)), key) for key in self._times if not key.is_unit]
        typical = self.typical(max(known)[1]) if known else None
        return None if typical is None else math.exp(typical)

    def _fits(self, sample: Sample) -> bool:
        return abs(sample.concurrency / self.slots - 1) <= TOLERANCE


def slowdown(first: Level, second: Level) -> Slowdown | None:
    """Compare the speed of the common kinds of two levels; None: nothing in common yet."""
    total = weights = 0.0
    keys = _comparable(first, second)
    for key in keys:
        before, after = first.typical(key), second.typical(key)
        if before is None or after is None:
            continue
        times = first.times(key), second.times(key)
        weight = 1 / (_variance(*times) * sum(1 / len(each) for each in times))
        total += weight * (after - before)
        weights += weight
    if not weights:
        return None
    error = math.hypot(MEDIAN_ERROR / math.sqrt(weights), _error_of_moments(first.moments(keys), second.moments(keys)))
    return Slowdown(log=total / weights, error=error)


def _error_of_moments(*levels: Mapping[int, Sequence[float]]) -> float:
    """Return the standard error that jobs of the same moment share; 0 if the moments differ by chance only."""
    groups = [list(moments.values()) for moments in levels]
    excess = scale = 0.0
    for moments in groups:
        number = sum(map(len, moments))
        means = [sum(values) / len(values) for values in moments]
        within = sum((value - mean) ** 2 for values, mean in zip(moments, means, strict=True) for value in values)
        between = sum(len(values) * mean**2 for values, mean in zip(moments, means, strict=True))
        excess += between - (len(moments) - 1) * within / max(1, number - len(moments))
        scale += number * (1 - _share(moments))
    freedom = sum(len(moments) - 1 for moments in groups)
    doubt = freedom / (freedom + MOMENTS_DOUBTED)
    variance = max(0.0, excess / scale) * doubt if scale else 0.0
    return math.sqrt(variance * sum(map(_share, groups)))


def _share(moments: Sequence[Sequence[float]]) -> float:
    """Return the variance of the mean of all jobs, as a share of the variance between moments."""
    return sum(len(values) ** 2 for values in moments) / max(1, sum(map(len, moments))) ** 2


def censored_median(ended: Sequence[float], running: Sequence[float]) -> float | None:
    """Return the median of all values, of which those of `running` are lower bounds; None: not known yet."""
    values = sorted([(value, True) for value in ended] + [(value, False) for value in running])
    surviving, at_risk, before = 1.0, len(values), None
    for value, has_ended in values:
        if has_ended:
            surviving *= 1 - 1 / at_risk
            if before is not None:
                return (before + value) / 2
            if surviving < 0.5 - 1e-9:
                return value
            if surviving < 0.5 + 1e-9:
                before = value  # exactly half: the median lies between this value and the next
        at_risk -= 1
    return before


def _comparable(first: Level, second: Level) -> list[Key]:
    """Return the common kinds: by run time where enough jobs have ended, else by units of progress."""
    found = []
    for kind in {key.kind for key in first.keys() & second.keys()}:
        whole, unit = Key(kind, is_unit=False), Key(kind, is_unit=True)
        ended = min(len(first.times(whole)), len(second.times(whole)))
        units = min(len(first.times(unit)), len(second.times(unit)))
        found.append(unit if units and ended < FEWEST_ENDED else whole)
    return found


def _variance(*groups: Sequence[float]) -> float:
    """Return the variance of the times around the mean of their group, drawn towards the prior."""
    squares, freedom = PRIOR_WEIGHT * PRIOR_SPREAD**2, PRIOR_WEIGHT
    for values in groups:
        mean = sum(values) / len(values)
        squares += sum((value - mean) ** 2 for value in values)
        freedom += len(values) - 1
    return squares / freedom


def _log(seconds: float) -> float:
    return math.log(max(seconds, 1e-6))
