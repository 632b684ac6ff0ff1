"""`python -m bench.autoscale.sensitivity [NAME …]`: the bars of the bench with each constant at half and at 1.5.

A constant that only suits its present value would lose cases here. Each line has the loads of the bench at the start-up
time of its requirements, one round each: the number of cases that hold, and the cost beside the present cost.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from agentpool_operator.scaling import headroom, keep_warm, learning, memory
from bench.autoscale import SLOTS, STARTUPS_SECONDS, compared, loads, run_one
from bench.autoscale.bars import Case, cost
from bench.autoscale.ours import Ours
from bench.autoscale.simulator import Setup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import ModuleType

    from bench.autoscale.jobs import Workload

FACTORS = (0.5, 1.5)
CONSTANTS: tuple[tuple[ModuleType, str], ...] = (
    (headroom, "HARDLY_EVER"),
    (headroom, "EXCEEDED_BY"),
    (learning, "RECENT_SECONDS"),
    (learning, "LONGER_SECONDS"),
    (learning, "SILENT_JOBS"),
    (learning, "ENOUGH_JOBS"),
    (learning, "SHORTEST_LOOK_SECONDS"),
    (memory, "LEAST_LOOKS"),
    (memory, "SHORTEST_SECONDS"),
    (learning, "HALF_LIFE_SECONDS"),
    (learning, "STARTS_REMEMBERED"),
    (keep_warm, "PRICE"),
    (keep_warm, "MARGIN"),
    (keep_warm, "LATE_JOBS"),
    (keep_warm, "UNSURE_HOLD_SECONDS"),
    (keep_warm, "SURE_AFTER"),
    (keep_warm, "SLACK"),
)
COLUMNS = ("constant", "value", "near the lowest cost", "not beaten in both", "median cost", "highest cost")


def main() -> None:
    """Print a line for each constant, once its runs have ended: the values at half, at present and at 1.5."""
    known = loads()
    present = compared(known, range(1), STARTUPS_SECONDS[:1])
    print(f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", sep="\n", flush=True)
    for module, name in CONSTANTS:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        value = getattr(module, name)
        changed = []
        for factor in FACTORS:
            with _set(module, name, value * factor):
                changed.append([_again(case, known) for case in present])
        print(_row(name, value, present, *changed), flush=True)


def _again(case: Case, known: Mapping[str, Workload]) -> Case:
    """Return the case with a new run of AgentPool, and the same peers."""
    setup = Setup(startup_s=case.startup_s, slots=SLOTS, seed=0)
    return replace(case, ours=run_one(known[case.load], Ours(), setup))


def _row(name: str, value: float, present: Sequence[Case], low: Sequence[Case], high: Sequence[Case]) -> str:
    groups = (low, present, high)
    near = ", ".join(str(sum(case.is_near for case in cases)) for cases in groups)
    unbeaten = ", ".join(str(sum(not case.beaten_by for case in cases)) for cases in groups)
    ratios = [
        [cost(new.ours) / cost(old.ours) for new, old in zip(cases, present, strict=True)] for cases in (low, high)
    ]
    middle = ", ".join(f"{statistics.median(each):.2f}" for each in ratios)
    worst = ", ".join(f"{max(each):.2f}" for each in ratios)
    return f"| `{name}` | {value:g} | {near} | {unbeaten} | {middle} | {worst} |"


@contextmanager
def _set(module: ModuleType, name: str, value: float) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


if __name__ == "__main__":
    main()
