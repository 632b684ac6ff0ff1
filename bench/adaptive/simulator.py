"""A worker on a virtual clock: slots, a plant that runs the jobs, and a number of slots that is fixed or adaptive.

All running jobs proceed at the plant's speed, so the next end is the smallest remaining work. The worker's own
`AdaptiveSlots` runs unchanged, with the simulation's clock and readings.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentpool_core.queue.settings import AdaptiveMode, PoolSettings
from agentpool_worker.slots.adaptive import PERIOD_SECONDS, AdaptiveSlots
from agentpool_worker.slots.gpu import GpuReading
from agentpool_worker.slots.recorder import Work
from agentpool_worker.slots.semaphore import Slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_worker.slots.observation import Change
    from agentpool_worker.slots.recorder import Run
    from bench.adaptive.plants import Kind, Plant

GIB = 2**30
SPELL_SECONDS = 3.0  # for which a neighbour's load stays
REFUSAL_SECONDS = 0.2  # until an upstream has refused
BUSY = 0.9  # utilisation that NVML shows with a single job already


@dataclass(frozen=True, slots=True)
class End:
    """The end of a job."""

    at: float  # seconds since the beginning
    seconds: float  # run time
    work: float  # run time, had the job run alone


@dataclass(slots=True)
class Trace:
    """What happened."""

    ends: list[End] = field(default_factory=list)
    slots: list[tuple[float, int]] = field(default_factory=list)  # time and number of slots, from then on
    changes: list[tuple[float, Change]] = field(default_factory=list)
    out_of_memory: int = 0


class Job:
    """A running job."""

    __slots__ = ("_simulation", "at", "gib", "kind", "refused", "run", "start", "work")

    def __init__(self, simulation: Simulation, kind: Kind, work: float, gib: float) -> None:
        self._simulation = simulation
        self.kind = kind
        self.work = work  # seconds alone
        self.gib = gib
        self.at = simulation.now
        self.start = simulation.done
        self.refused = False
        self.run: Run | None = None

    @property
    def reports(self) -> int:
        """Reports of progress so far."""
        return int(self.kind.units * min(1.0, (self._simulation.done - self.start) / self.kind.seconds))


class Simulation:
    """One run."""

    def __init__(self, plant: Plant, seed: int, fixed: int | None = None) -> None:
        self.plant = plant
        self.trace = Trace()
        self.now = 0.0
        self.done = 0.0  # work that a job which ran from the beginning would have done
        self._random = random.Random(seed)  # repeatable
        self._ends: list[tuple[float, int, Job]] = []  # by the amount of work done
        self._refusals: list[tuple[float, int, Job]] = []  # by time
        self._numbers = itertools.count()
        self._memory = plant.base_gib
        self._claimed = 0  # jobs of bursts
        self._neighbour = random.Random(seed)  # apart, so that every number of slots has the same spells
        self._spell, self._spell_ends = 1.0, 0.0
        self._tokens, self._filled_at = 1.0, 0.0
        mode = AdaptiveMode.OFF if fixed else AdaptiveMode.GPU if plant.total_gib else AdaptiveMode.GOODPUT
        settings = PoolSettings(
            concurrency=fixed or 1, adaptive_mode=mode, adaptive_min=1, adaptive_max=plant.max_slots
        )
        self.slots = Slots(fixed or 1)
        self.adaptive = AdaptiveSlots(
            slots=self.slots,
            settings=lambda: settings,
            reader=self if plant.total_gib else None,
            changed=self._on_change,
            clock=lambda: self.now,
        )

    def simulate(self) -> Trace:
        """Run to the end."""
        self.trace.slots.append((0.0, self.slots.total))
        next_tick = PERIOD_SECONDS
        while self.now < self.plant.seconds:
            self._claim()
            self._advance(next_tick)
            if self.now >= next_tick:
                self.adaptive.read()
                self.adaptive.run_once()
                next_tick += PERIOD_SECONDS
        return self.trace

    def read(self) -> Sequence[GpuReading]:
        """Return the GPU's reading, as NVML shows it: busy with a single job."""
        total = self.plant.total_gib
        used = round(min(self._memory, total) * GIB)
        busy = BUSY if self.slots.used else 0.0
        return [GpuReading(index=0, utilisation=busy, memory_used_bytes=used, memory_total_bytes=round(total * GIB))]

    def close(self) -> None:
        """Release nothing."""

    def _on_change(self, change: Change) -> None:
        self.trace.slots.append((self.now, change.slots))
        self.trace.changes.append((self.now, change))

    def _claim(self) -> None:
        while self.slots.free and self._is_offered():
            kinds = self.plant.kinds
            (kind,) = self._random.choices(kinds, weights=[each.share for each in kinds])
            factor = math.exp(self._random.gauss(-(kind.spread**2) / 2, kind.spread)) if kind.spread else 1.0
            job = Job(self, kind, kind.seconds * factor, self._random.uniform(*kind.gib))
            self.slots.take()
            job.run = self.adaptive.recorder.begin(kind.name, job)
            if not self._is_admitted():
                job.refused = True
                heapq.heappush(self._refusals, (self.now + REFUSAL_SECONDS, next(self._numbers), job))
                continue
            self._memory += job.gib
            if self.plant.total_gib and self._memory > self.plant.total_gib:
                self.trace.out_of_memory += 1
            heapq.heappush(self._ends, (self.done + job.work, next(self._numbers), job))

    def _is_admitted(self) -> bool:
        """Take a token of the upstream's bucket, which holds those of one second."""
        rate = self.plant.rate
        if rate is None:
            return True
        self._tokens = min(rate, self._tokens + rate * (self.now - self._filled_at))
        self._filled_at = self.now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _advance(self, until: float) -> None:
        """Move to the next end, refusal, or `until`."""
        speed = self._spell * self.plant.speed(len(self._ends), self.now) if self._ends else 1.0
        to_end = (self._ends[0][0] - self.done) / speed if self._ends else math.inf
        to_refusal = self._refusals[0][0] - self.now if self._refusals else math.inf
        step = min(to_end, to_refusal, until - self.now, self._to_burst(), self._to_spell())
        self.now = until if step == until - self.now else self.now + step
        self.done += step * speed
        if step == to_end:
            self._end(heapq.heappop(self._ends)[2])
        elif step == to_refusal:
            self._end(heapq.heappop(self._refusals)[2])

    def _to_spell(self) -> float:
        """Return the time until the neighbour's load changes; it changes when that time has come."""
        if self.now >= self._spell_ends:
            self._spell = math.exp(self._neighbour.gauss(0.0, self.plant.neighbour))
            self._spell_ends = self.now + SPELL_SECONDS
        return self._spell_ends - self.now

    def _is_offered(self) -> bool:
        """Take a job from the backlog, if there is one."""
        if self.plant.bursts is None:
            return True
        period, jobs = self.plant.bursts
        arrived = jobs * (1 + math.floor(self.now / period + 1e-9))
        if self._claimed >= arrived:
            return False
        self._claimed += 1
        return True

    def _to_burst(self) -> float:
        """Return the time until the next burst."""
        if self.plant.bursts is None:
            return math.inf
        period = self.plant.bursts[0]
        return period * (1 + math.floor(self.now / period + 1e-9)) - self.now

    def _end(self, job: Job) -> None:
        self.slots.release()
        self.adaptive.recorder.end(job.run, Work.REFUSED if job.refused else Work.DONE)
        if job.refused:
            self.adaptive.report_overload()
            return
        self._memory -= job.gib
        self.trace.ends.append(End(self.now, self.now - job.at, job.work))
