"""Loads that no constant was tuned on: synthetic loads with new seeds.

A rule fitted to two traces would fall behind here. Each load is compared with KEDA on lag and pending: above 1 is
better.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bench.autoscale.measures import measured
from bench.autoscale.ours import Ours
from bench.autoscale.peers import Keda, lag_and_pending
from bench.autoscale.simulator import Setup, Simulation
from bench.autoscale.workload import bursts, day, few_long_jobs, levels, long_jobs, on_off, spikes, step
from bench.report import Figure

if TYPE_CHECKING:
    from bench.autoscale.jobs import Workload
    from bench.autoscale.measures import Measures
    from bench.autoscale.simulator import Policy

SEEDS = range(201, 207)
SETUP = Setup(startup_s=30.0, seed=0)
LEAST_WAIT_SECONDS = 0.1  # below, waits are counted as equal


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


def _keda() -> Keda:
    return Keda("KEDA lag+pending", lag_and_pending, SETUP.slots)


def _run(load: Workload, policy: Policy) -> Measures:
    return measured(Simulation(load, policy, SETUP).run())
