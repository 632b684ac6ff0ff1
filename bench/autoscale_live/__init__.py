"""The autoscaler live: a slice of a real trace on the devcluster, beside the prediction of the simulator.

The real operator and real workers run as processes on this machine; a job sleeps for the service time of the trace's
request. The busiest minutes of each trace are replayed at their own pace, on a pool that starts from zero. Each
worker's start is extended by some seconds, like an image pull. Then the simulator of `bench.autoscale` runs the same
slice with the observed start-up time. `replay` runs the live part, `plot` draws.

`AGENTPOOL_LIVE_SECONDS` sets the length of a slice. The traces are read as in `autoscale`.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING

from bench.autoscale.jobs import Workload
from bench.autoscale.measures import TARGET_WAIT_SECONDS, measured
from bench.autoscale.ours import Ours
from bench.autoscale.simulator import Setup, Simulation
from bench.autoscale.workload import TRACES, busiest, trace, traces_directory
from bench.autoscale_live.replay import MAX_WORKERS, SLOTS, Happened, replayed
from bench.report import Figure, Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.autoscale.simulator import Outcome

NAME = "autoscale_live"
SLICE_SECONDS = float(os.environ.get("AGENTPOOL_LIVE_SECONDS", "240"))
QUIET_SECONDS = 60.0  # after the last arrival, which count
STRETCH_SECONDS = 10.0  # added to the start of each worker
ROUNDS = 5  # of the prediction: start-up times vary
SAME_HOURS = 0.8  # the smaller of predicted and measured worker-seconds over the larger
Points = list[tuple[float, float]]
NOTES = (
    "service time of a trace's request: 0.2 s + ContextTokens/8000 + GeneratedTokens/40",
    f"{SLOTS} slots a worker, at most {MAX_WORKERS} workers, target wait {TARGET_WAIT_SECONDS:g} s; from no worker",
    f"the busiest {SLICE_SECONDS:g} s of each trace, and {QUIET_SECONDS:g} s of quiet that count",
    f"a worker's start is stretched by {STRETCH_SECONDS:g} s",
    f"the prediction knows the workers' median start-up time, and varies it by a tenth in {ROUNDS} rounds",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A slice, predicted and measured."""

    load: Workload
    happened: Happened
    foreseen: tuple[Outcome, ...]


async def run() -> Report:
    """Run both traces in sequence."""
    directory = traces_directory()
    found = [await _compared(busiest(trace(name, directory), SLICE_SECONDS)) for name in TRACES]
    ratios: dict[str, float] = {}
    required: dict[str, float] = {}
    for each in found:
        name, there = each.load.name, measured(each.happened.as_outcome())
        hours = statistics.median(outcome.worker_hours for outcome in each.foreseen)
        ratios[f"{name}: worker-seconds, smaller / larger"] = min(hours, there.worker_hours) / max(
            hours, there.worker_hours
        )
        required[f"{name}: worker-seconds, smaller / larger"] = SAME_HOURS
        ratios[f"{name}: jobs that ran once, to their end / jobs"] = each.happened.ran_once / len(each.load.jobs)
        required[f"{name}: jobs that ran once, to their end / jobs"] = 1.0
    return Report(
        name=NAME,
        figures=dict(chain.from_iterable(_figures(each).items() for each in found)),
        ratios=ratios,
        required=required,
        notes=NOTES,
        series=dict(chain.from_iterable(_series(each).items() for each in found)),
    )


async def _compared(load: Workload) -> Compared:
    happened = await replayed(load, quiet_s=QUIET_SECONDS, stretch_s=STRETCH_SECONDS)
    startup_s = statistics.median(happened.startups_s)
    setups = [
        Setup(startup_s=startup_s, slots=SLOTS, max_workers=MAX_WORKERS, seed=seed, quiet_s=QUIET_SECONDS)
        for seed in range(ROUNDS)
    ]
    return Compared(
        load=load, happened=happened, foreseen=tuple(Simulation(load, Ours(), setup).run() for setup in setups)
    )


def _figures(each: Compared) -> dict[str, Figure]:
    foreseen, there = [measured(outcome) for outcome in each.foreseen], measured(each.happened.as_outcome())
    figures = {}
    for label, unit, read in (
        ("p50 wait", "s", lambda m: m.p50_s),
        ("p90 wait", "s", lambda m: m.p90_s),
        ("p99 wait", "s", lambda m: m.p99_s),
        (f"share within {TARGET_WAIT_SECONDS:g} s", "%", lambda m: 100 * m.in_time),
        ("worker-seconds", "s", lambda m: 3600 * m.worker_hours),
        ("changes of size", "", lambda m: float(m.changes)),
    ):
        figures |= _pair(f"{each.load.name}: {label}", unit, [read(m) for m in foreseen], read(there))
    peaks = [float(max(size for _, size in outcome.sizes)) for outcome in each.foreseen]
    figures |= _pair(f"{each.load.name}: most workers", "", peaks, float(max(n for _, n in each.happened.sizes)))
    figures[f"{each.load.name}: start-up time of a worker"] = Figure(unit="s", runs=each.happened.startups_s)
    return figures


def _pair(label: str, unit: str, foreseen: Sequence[float], there: float) -> dict[str, Figure]:
    return {
        f"{label}, predicted": Figure(unit=unit, runs=tuple(foreseen)),
        f"{label}, measured": Figure(unit=unit, runs=(there,)),
    }


def _series(each: Compared) -> dict[str, Points]:
    """Return sizes and waiting jobs over time; of the predictions the first."""
    name, first = each.load.name, each.foreseen[0]
    return {
        f"{name}: workers, predicted": [(at, float(size)) for at, size in first.sizes],
        f"{name}: workers, measured": [(at, float(size)) for at, size in each.happened.sizes],
        f"{name}: waiting, predicted": _waiting(each.load, first.waits_s),
        f"{name}: waiting, measured": _waiting(each.load, each.happened.waits_s),
    }


def _waiting(load: Workload, waits_s: Iterable[float]) -> Points:
    """Return the number of waiting jobs after each change."""
    pairs = [(job.at, wait) for job, wait in zip(load.jobs, waits_s, strict=True)]
    steps = sorted([(at, 1.0) for at, _ in pairs] + [(at + wait, -1.0) for at, wait in pairs], key=_arrivals_first)
    return list(zip((at for at, _ in steps), accumulate(step for _, step in steps), strict=True))


def _arrivals_first(step: tuple[float, float]) -> tuple[float, float]:
    at, change = step
    return at, -change
