"""A simulation: one pool on N shards. No code of the product runs here; decision 0030 says what the figures mean.

A shard is a server with one thread. A call costs it `CALL_S`, and `JOB_S` for each job (measured with the consumer's
calls of 1 to 100 jobs). A worker has 100 slots and one thread, which spends `WORKER_JOB_S` on a job. It calls the
shards in turn, with all ended jobs of that shard and its free slots. Jobs lie on a shard by the hash of their id. A
limit over all jobs is divided among the shards.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.report import Figure, Report

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "shards"
SHARDS = (1, 2, 4, 8)
WORKERS, SLOTS = 14, 100
CALL_S, JOB_S = 100e-6, 21e-6
WORKER_JOB_S, ROUND_TRIP_S = 25e-6, 200e-6
IDLE_S = 0.005  # between calls of a worker that finds nothing
SEEDS = range(5)
SUBMIT, END, CALL = range(3)  # events
LATE_S = 0.1  # a job is overtaken if a job that was submitted this much later has started before
BURSTY_JOBS, BURST = 30_000, 50
LIMIT = 24  # running jobs
NOTES = [
    f"simulated: {WORKERS} workers of {SLOTS} slots call the shards in turn",
    f"a call costs {CALL_S * 1e6:g} us and {JOB_S * 1e6:g} us a job",
    f"wait and overtaking: bursts of {BURST} jobs of 1 s on average, at 95 % of the slots",
    f"limit: {LIMIT} running jobs of 0.1 s on average, divided evenly",
]


@dataclass(slots=True)
class Shard:
    """A server with its part of the queue."""

    limit: int | None  # jobs that may run at once
    ready: deque[tuple[float, int]] = field(default_factory=deque)  # (submitted, number), in order
    running: int = 0
    free_at: float = 0.0
    busy_s: float = 0.0

    def call(self, at: float, ended: int, free: int) -> tuple[float, list[tuple[float, int]]]:
        """Settle and claim; return the time of the answer and the claimed jobs."""
        self.running -= ended
        room = len(self.ready) if self.limit is None else self.limit - self.running
        count = max(0, min(free, room, len(self.ready), SLOTS))
        taken = [self.ready.popleft() for _ in range(count)]
        self.running += count
        cost = CALL_S + JOB_S * max(count, ended)
        self.free_at = max(at, self.free_at) + cost
        self.busy_s += cost
        return self.free_at + ROUND_TRIP_S, taken


@dataclass(slots=True)
class Outcome:
    """Observations of a run."""

    ended_at: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    overtaken: int = 0  # jobs that started after a job that was submitted at least `LATE_S` later


def simulate(
    shards: int, jobs: list[tuple[float, int, float]], *, limit: int | None = None, place: Callable[[int], int] = int
) -> Outcome:
    """Run jobs (submit time, number, run time) on that many shards; `place`: the number that selects a job's shard."""
    parts = [Shard(limit=None if limit is None else limit // shards) for _ in range(shards)]
    runs = {number: run for _, number, run in jobs}
    outcome = Outcome()
    free = [SLOTS] * WORKERS
    ended = [[0] * shards for _ in range(WORKERS)]
    latest = 0.0  # submit time of the youngest started job
    events: list[tuple[float, int, int, int, int]] = []  # time, order, event, worker or number of a job, shard
    order = 0

    def push(at: float, event: int, one: int, shard: int) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (at, order, event, one, shard))

    for at, number, _ in jobs:
        push(at, SUBMIT, number, place(number) % shards)
    for worker in range(WORKERS):
        push(worker * 1e-4, CALL, worker, worker % shards)
    left = len(jobs)
    while left:
        at, _, event, one, shard = heapq.heappop(events)
        if event == SUBMIT:
            parts[shard].ready.append((at, one))
        elif event == END:
            ended[one][shard] += 1
            free[one] += 1
            left -= 1
            outcome.ended_at.append(at)
        else:
            answer, taken = parts[shard].call(at, ended[one][shard], free[one])
            had = ended[one][shard]
            ended[one][shard] = 0
            free[one] -= len(taken)
            for submitted, number in taken:
                answer += WORKER_JOB_S
                outcome.waits.append(answer - submitted)
                outcome.overtaken += submitted < latest - LATE_S
                latest = max(latest, submitted)
                push(answer + runs[number], END, one, shard)
            push(answer if taken or had else answer + IDLE_S / shards, CALL, one, (shard + 1) % shards)
    return outcome


def _throughput(shards: int, chance: random.Random) -> float:
    """Jobs a second of a full queue of no-op jobs."""
    jobs = [(0.0, number, 0.0) for number in range(20_000 * shards)]
    chance.shuffle(jobs)
    outcome = simulate(shards, jobs)
    return len(jobs) / max(outcome.ended_at)


def _order(shards: int, chance: random.Random) -> tuple[float, float]:
    """p99 wait in seconds, and the share of overtaken jobs, at 95 % of the slots with bursts."""
    jobs, at = [], 0.0
    while len(jobs) < BURSTY_JOBS:
        at += chance.expovariate(0.95 * WORKERS * SLOTS / BURST)
        jobs += [(at, len(jobs) + number, chance.expovariate(1.0)) for number in range(BURST)]
    outcome = simulate(shards, jobs, place=_hashed)
    return statistics.quantiles(outcome.waits, n=100)[98], outcome.overtaken / len(jobs)


def _limit(shards: int, chance: random.Random) -> float:
    """Share of the limit that is used while jobs wait."""
    jobs = [(0.0, number, chance.expovariate(10.0)) for number in range(6_000)]
    outcome = simulate(shards, jobs, limit=LIMIT, place=_hashed)
    return sum(run for *_, run in jobs) / (LIMIT * max(outcome.ended_at))


def _hashed(number: int) -> int:
    return number * 2654435761 >> 7


async def run() -> Report:
    """Simulate all sizes."""
    return await asyncio.to_thread(_run)


def _run() -> Report:
    figures: dict[str, Figure] = {}
    for shards in SHARDS:
        chances = [random.Random(seed) for seed in SEEDS]
        ordered = [_order(shards, chance) for chance in chances]
        found = {
            f"{shards}: no-op jobs/s": [_throughput(shards, chance) for chance in chances[:1]],
            f"{shards}: p99 wait s": [wait for wait, _ in ordered],
            f"{shards}: overtaken share": [share for _, share in ordered],
            f"{shards}: limit's used share": [_limit(shards, chance) for chance in chances],
        }
        figures |= {name: Figure(unit=name.split(" ")[-1], runs=tuple(runs)) for name, runs in found.items()}
    return Report(name=NAME, figures=figures, ratios={}, required={}, notes=NOTES)
