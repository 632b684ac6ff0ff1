"""Loads that no constant was tuned on: synthetic loads with new seeds; and every constant halved and doubled.

A rule fitted to two traces would fall behind here. Each load is compared with KEDA on lag and pending: above 1 is
better.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agentpool_operator.scaling import keep_warm, learning
from bench.autoscale.measures import measured
from bench.autoscale.ours import Ours
from bench.autoscale.peers import Keda, lag_and_pending
from bench.autoscale.simulator import Setup, Simulation
from bench.autoscale.workload import bursts, day, few_long_jobs, levels, long_jobs, on_off, spikes, step
from bench.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from bench.autoscale.jobs import Workload
    from bench.autoscale.measures import Measures
    from bench.autoscale.simulator import Policy

SEEDS = range(201, 207)
SETUP = Setup(startup_s=30.0, seed=0)
LEAST_WAIT_SECONDS = 0.1  # below, waits are counted as equal
CONSTANTS: tuple[tuple[ModuleType, str], ...] = (
    (keep_warm, "PRICE"),
    (keep_warm, "MARGIN"),
    (keep_warm, "LATE_JOBS"),
    (keep_warm, "UNSURE_HOLD_SECONDS"),
    (keep_warm, "SURE_AFTER"),
    (keep_warm, "SLACK"),
    (learning, "HALF_LIFE_SECONDS"),
    (learning, "STARTS_REMEMBERED"),
)


def held_out() -> dict[str, Figure]:
    """Return for each kind of load a ratio per seed, of p99 waits and of worker-hours."""
    figures = {}
    for make in (bursts, on_off, day):
        pairs = [(_run(load, Ours()), _run(load, _keda())) for load in map(make, SEEDS)]
        name = f"held-out {make.__name__}: KEDA lag+pending / AgentPool"
        waits = tuple(max(keda.p99_s, LEAST_WAIT_SECONDS) / max(ours.p99_s, LEAST_WAIT_SECONDS) for ours, keda in pairs)
        hours = tuple(keda.worker_hours / ours.worker_hours for ours, keda in pairs)
        figures |= {f"{name}, p99 wait": Figure(unit="x", runs=waits)}
        figures |= {f"{name}, worker-hours": Figure(unit="x", runs=hours)}
    return figures


def unseen_loads() -> list[Workload]:
    """Return loads of each kind with new seeds, mean run times and numbers of busy slots."""
    draw = random.Random(SEEDS[0])
    loads = [step(seed=SEEDS[0]), spikes(seed=SEEDS[1])]
    for seed in SEEDS[:2]:
        mean_s = draw.uniform(30, 240)
        loads.append(long_jobs(seed, busy=draw.uniform(15, 60), mean_s=mean_s))
        loads.append(few_long_jobs(seed, busy=draw.uniform(0.7, 5), mean_s=mean_s))
        loads += [make(seed) for make in (levels, bursts, on_off, day)]
    return loads


def sensitivity(loads: Sequence[Workload]) -> dict[str, Figure]:
    """Return p99 and hours with each constant at half and at double."""
    figures = {}
    for load in [*loads, *(make(SEEDS[0]) for make in (bursts, on_off))]:
        for module, name in CONSTANTS:
            for factor in (0.5, 2.0):
                with _scaled(module, name, factor) as value:
                    m = _run(load, Ours())
                label = f"{load.name}, {name} {value:g}"
                figures[f"{label}: p99 wait"] = Figure(unit="s", runs=(m.p99_s,))
                figures[f"{label}: worker-hours"] = Figure(unit="h", runs=(m.worker_hours,))
    return figures


@contextmanager
def _scaled(module: ModuleType, name: str, factor: float) -> Iterator[float]:
    before = getattr(module, name)
    setattr(module, name, before * factor)
    try:
        yield before * factor
    finally:
        setattr(module, name, before)


def _keda() -> Keda:
    return Keda("KEDA lag+pending", lag_and_pending, SETUP.slots)


def _run(load: Workload, policy: Policy) -> Measures:
    return measured(Simulation(load, policy, SETUP).run())
