"""Simulated resources behind a worker's slots: how fast each of `running` jobs proceeds, and what they hold.

A job that runs alone has speed 1. All plants have a knee: up to it further jobs cost nothing, above it they share a
fixed capacity. `drawn` makes plants at random, for which no constant was chosen.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of job."""

    name: str = "job"
    seconds: float = 1.0  # mean run time alone
    spread: float = 0.5  # standard deviation of the logarithm of the run time; 0: all alike
    share: float = 1.0  # of all jobs, beside the shares of the other kinds
    units: int = 0  # reports of progress in a job
    gib: tuple[float, float] = (0.0, 0.0)  # memory, from and to


@dataclass(frozen=True, kw_only=True, slots=True)
class Plant:
    """A resource."""

    name: str
    knee: float  # jobs that run at full speed
    drag: float = 0.0  # slowdown by each further job below the knee
    kinds: tuple[Kind, ...] = (Kind(),)
    rate: float | None = None  # starts a second; above, a start is refused
    total_gib: float = 0.0  # 0: no GPU
    base_gib: float = 0.0  # held without jobs
    max_slots: int = 64
    changes: tuple[tuple[float, float], ...] = ()  # times, and the knee from then on
    bursts: tuple[float, int] | None = None  # seconds between bursts, and jobs in each; None: always jobs
    neighbour: float = 0.05  # standard deviation of the logarithm of the speed, from one spell to the next
    seconds: float = 240.0  # of the simulation

    def speed(self, running: int, at: float) -> float:
        """Return the speed of each job."""
        return 1 / max(1 + self.drag * (running - 1), running / self.knee_at(at))

    def knee_at(self, at: float) -> float:
        """Return the knee at this time."""
        return ([self.knee] + [knee for time, knee in self.changes if time <= at])[-1]


def drawn(number: int) -> Plant:
    """Return a plant at random, the same for the same number."""
    chance = random.Random(number)
    kinds = tuple(
        Kind(name=f"kind {kind}", seconds=2 ** chance.uniform(-2, 2), spread=chance.uniform(0.0, 0.8))
        for kind in range(chance.randint(1, 3))
    )
    return Plant(
        name=f"drawn {number}",
        knee=2 ** chance.uniform(0, 5.5),
        drag=chance.choice((0.0, 0.005, 0.02)),
        kinds=kinds,
    )


PLANTS = (
    Plant(name="batching GPU", knee=48, drag=0.002, kinds=(Kind(seconds=1.5, spread=0.3),), total_gib=80, base_gib=20),
    Plant(
        name="batching GPU, jobs of 30 s that emit",
        knee=24,
        drag=0.004,
        kinds=(Kind(seconds=30, spread=0.6, units=600),),
        total_gib=80,
        base_gib=20,
        seconds=420.0,
    ),
    Plant(name="GPU with a noisy neighbour", knee=16, neighbour=0.15, total_gib=80, base_gib=20),
    Plant(name="batching GPU, equal jobs", knee=32, kinds=(Kind(seconds=2.0, spread=0.0),), total_gib=80, base_gib=20),
    Plant(name="compute-bound GPU", knee=2, kinds=(Kind(seconds=0.5, spread=0.3),), total_gib=80, base_gib=10),
    Plant(
        name="memory-bound GPU",
        knee=64,
        kinds=(Kind(seconds=2.5, spread=0.2, gib=(5.0, 7.0)),),
        total_gib=80,
        base_gib=10,
    ),
    Plant(name="upstream that refuses above 15/s", knee=1000, rate=15, kinds=(Kind(seconds=1.0, spread=0.5),)),
    Plant(name="upstream that delays", knee=12, kinds=(Kind(seconds=0.8, spread=0.8),)),
    Plant(
        name="CPU pool, three kinds",
        knee=8,
        kinds=(
            Kind(name="a", seconds=0.2, spread=0.8, share=6),
            Kind(name="b", seconds=1.0, spread=0.8, share=3),
            Kind(name="c", seconds=4.0, spread=0.8),
        ),
    ),
    Plant(name="CPU pool, bursts", knee=8, kinds=(Kind(seconds=0.5, spread=0.8),), bursts=(20.0, 240)),
    Plant(
        name="optimum changes: 10, 30, 6",
        knee=10,
        kinds=(Kind(seconds=1.0, spread=0.5),),
        changes=((120.0, 30.0), (240.0, 6.0)),
        seconds=360.0,
    ),
)
