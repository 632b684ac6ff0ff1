"""Measures of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.autoscale.simulator import Outcome

TARGET_WAIT_SECONDS = 5.0  # the spec's default


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """Figures of a run."""

    p50_s: float
    p90_s: float
    p99_s: float
    in_time: float  # share of jobs that waited at most TARGET_WAIT_SECONDS
    worker_hours: float
    changes: int
    harmed: int
    killed: int


def measured(outcome: Outcome) -> Measures:
    """Return the figures of a run."""
    waits = sorted(outcome.waits_s)
    return Measures(
        p50_s=quantile(waits, 0.5),
        p90_s=quantile(waits, 0.9),
        p99_s=quantile(waits, 0.99),
        in_time=sum(1 for wait in waits if wait <= TARGET_WAIT_SECONDS) / max(1, len(waits)),
        worker_hours=outcome.worker_hours,
        changes=outcome.changes,
        harmed=outcome.harmed,
        killed=outcome.killed,
    )


def quantile(ordered: list[float], share: float) -> float:
    """Return the smallest value that this share of the ordered values does not exceed."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def middle(rounds: Sequence[Measures]) -> Measures:
    """Return the median of each figure."""
    columns = [asdict(measures) for measures in rounds]
    return Measures(**{name: statistics.median_low(column[name] for column in columns) for name in columns[0]})
