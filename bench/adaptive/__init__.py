"""Adaptive slots on a virtual clock, beside every fixed number of slots.

`plants` describes the resources, `simulator` runs the worker's own decisions on them. The best fixed number is the
fewest slots with at least 98 % of the highest throughput, without running out of memory. An adaptive worker starts with
one slot and is measured from 60 s after the start, and from 60 s after each change of the resource. Throughput is work
(run time of the ended jobs, had each run alone) for each second, so the mix of jobs does not matter.
"""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.adaptive.plants import PLANTS, drawn
from bench.adaptive.simulator import Simulation
from bench.report import Figure, Report, quick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.adaptive.plants import Plant
    from bench.adaptive.simulator import Trace

NAME = "adaptive"
SEEDS, FIRST_SEED = 10, 100
DRAWN = 20  # resources at random, with two seeds each
FIXED_SEEDS = 2
CONVERGED_SECONDS = 60.0
COUNTS = (*range(1, 13), 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 36, 40, 44, 48, 52, 56, 60, 64)
BEST = 0.98  # share of the highest throughput that a best fixed number has
NEAR = 1.5  # ratio to the median number of slots within which slots count as steady
LEAST = {"throughput": 0.9, "latency": 1 / 1.5, "memory": 1.0, "steady": 0.9}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """What a run gave between two times."""

    throughput: float  # seconds of work for each second
    p95_s: float  # run time
    slots: float  # median over time
    steady: float  # share of time near the median
    changes: float  # of the slots, a minute
    out_of_memory: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A resource as it is for a time."""

    label: str
    best: Measures  # of the best fixed number
    runs: Sequence[Measures]  # adaptive, by seed


async def run() -> Report:
    """Simulate all plants."""
    figures: dict[str, Figure] = {}
    medians: dict[str, list[float]] = {kind: [] for kind in LEAST}
    rows: list[str] = []
    groups = [[case] for plant in PLANTS for case in _cases(plant)]
    groups.append([case for number in range(2 if quick() else DRAWN) for case in _cases(drawn(number))])
    for group in groups:
        label = group[0].label if len(group) == 1 else f"{len(group)} resources drawn at random"
        found = _figures(label, group)
        figures |= found
        rows.append(_row(label, group, found))
        for kind in LEAST:
            figure = found[f"{label}: {RATIOS[kind]}"]
            medians[kind].append(min(figure.runs) if kind == "memory" else figure.median)
    return Report(
        name=NAME,
        figures=figures,
        ratios={RATIOS[kind]: min(values) for kind, values in medians.items()},
        required={RATIOS[kind]: least for kind, least in LEAST.items()},
        notes=NOTES,
        digest="\n".join([*HEAD, *rows]),
    )


RATIOS = {
    "throughput": "throughput / best fixed",
    "latency": "p95 of best fixed / p95",
    "memory": "runs without out-of-memory",
    "steady": f"share of time within {NEAR:g} times the median slots",
}
HEAD = (
    "| resource | best fixed slots | adaptive slots | throughput / best fixed | p95 / best fixed | changes a minute |",
    "|---|---|---|---|---|---|",
)
NOTES = (
    f"virtual clock; {SEEDS} seeds; medians, with the lowest and highest in brackets",
    "from one slot, at most 64; measured from 60 s after the start, and from 60 s after each change",
    "changes include trials of nearby numbers",
    "bars: the resource with the worst median; for memory, the worst run",
)


def _cases(plant: Plant) -> list[Case]:
    """Run a plant; return a case for each time in which the resource is as it is, from a minute after its begin."""
    seeds = range(FIRST_SEED, FIRST_SEED + (2 if quick() or plant.name.startswith("drawn") else SEEDS))
    adaptive = [Simulation(plant, seed).simulate() for seed in seeds]
    fixed = {
        count: [Simulation(plant, seed, count).simulate() for seed in range(FIXED_SEEDS)]
        for count in COUNTS
        if count <= plant.max_slots
    }
    cuts = [0.0, *(at for at, _ in plant.changes), plant.seconds]
    found = []
    for number, (begin, end) in enumerate(itertools.pairwise(cuts)):
        label = f"{plant.name}, then {plant.knee_at(begin):g}" if number else plant.name
        window = (begin + CONVERGED_SECONDS, end)
        runs = [_measured(trace, window) for trace in adaptive]
        found.append(Case(label=label, best=_best(fixed, window), runs=runs))
    return found


def _best(fixed: dict[int, list[Trace]], window: tuple[float, float]) -> Measures:
    """Return the measures of the best fixed number of slots."""
    runs = {count: [_measured(trace, window) for trace in traces] for count, traces in fixed.items()}
    means = {
        count: statistics.mean(each.throughput for each in measured)
        for count, measured in runs.items()
        if not any(trace.out_of_memory for trace in fixed[count])
    }
    count = min(count for count, mean in means.items() if mean >= BEST * max(means.values()))
    p95_s = statistics.mean(each.p95_s for each in runs[count])
    return Measures(throughput=means[count], p95_s=p95_s, slots=count, steady=1.0, changes=0.0, out_of_memory=0)


def _measured(trace: Trace, window: tuple[float, float]) -> Measures:
    begin, end = window
    ended = [each for each in trace.ends if begin <= each.at < end]
    times = sorted(each.seconds for each in ended)
    spans = _spans(trace, window)
    median = _median(spans)
    near = sum(length for length, slots in spans if median / NEAR <= slots <= median * NEAR or abs(slots - median) <= 1)
    return Measures(
        throughput=sum(each.work for each in ended) / (end - begin),
        p95_s=times[int(0.95 * len(times))],
        slots=median,
        steady=round(near / (end - begin), 6),  # without the error of sums of seconds
        changes=60 * sum(begin <= at < end for at, _ in trace.changes) / (end - begin),
        out_of_memory=trace.out_of_memory,
    )


def _spans(trace: Trace, window: tuple[float, float]) -> list[tuple[float, int]]:
    """Return how long each number of slots was in force within the window."""
    begin, end = window
    ends = [at for at, _ in trace.slots[1:]] + [end]
    clipped = [(min(until, end) - max(at, begin), slots) for (at, slots), until in zip(trace.slots, ends, strict=True)]
    return [(length, slots) for length, slots in clipped if length > 0]


def _median(spans: Sequence[tuple[float, int]]) -> int:
    half, passed = sum(length for length, _ in spans) / 2, 0.0
    for length, slots in sorted(spans, key=lambda span: span[1]):
        passed += length
        if passed >= half:
            return slots
    return spans[-1][1]


def _figures(label: str, group: Sequence[Case]) -> dict[str, Figure]:
    pairs = [(each, case.best) for case in group for each in case.runs]
    readings = {
        RATIOS["throughput"]: [each.throughput / best.throughput for each, best in pairs],
        RATIOS["latency"]: [best.p95_s / each.p95_s for each, best in pairs],
        RATIOS["memory"]: [float(not each.out_of_memory) for each, _ in pairs],
        RATIOS["steady"]: [each.steady for each, _ in pairs],
        "slots": [each.slots for each, _ in pairs],
        "changes a minute": [each.changes for each, _ in pairs],
    }
    return {f"{label}: {name}": Figure(unit="", runs=tuple(values)) for name, values in readings.items()}


def _row(label: str, group: Sequence[Case], found: dict[str, Figure]) -> str:
    latencies = found[f"{label}: {RATIOS['latency']}"].runs
    columns = [
        _spread([case.best.slots for case in group], "g"),
        _spread(found[f"{label}: slots"].runs, "g"),
        _spread(found[f"{label}: {RATIOS['throughput']}"].runs, ".2f"),
        _spread([1 / each for each in latencies], ".2f"),
        f"{found[f'{label}: changes a minute'].median:.1f}",
    ]
    return f"| {label} | {' | '.join(columns)} |"


def _spread(values: Sequence[float], form: str) -> str:
    middle, low, high = (f"{each:{form}}" for each in (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"
