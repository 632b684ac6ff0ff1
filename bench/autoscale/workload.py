"""Arriving jobs: two real traces, a step, a spike train, a diurnal day.

A trace's service time follows the model of the traces' README: `0.2 s + ContextTokens / 8000 + GeneratedTokens / 40`.
Synthetic loads draw from a seeded generator, for repeatable runs. `simulator` takes over next.
"""

from __future__ import annotations

import bisect
import csv
import math
import os
import random
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.autoscale.jobs import Job, Workload
from bench.report import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Callable

TRACES = {"code": "AzureLLMInferenceTrace_code.csv", "conv": "AzureLLMInferenceTrace_conv.csv"}
STEP_UP_SECONDS, STEP_DOWN_SECONDS = 1200.0, 2400.0
DAY_SECONDS, BEGIN_SECONDS = 86_400.0, 32_400.0  # of `mornings`
BASE_SECONDS = 0.2  # of each request
CONTEXT_TOKENS_PER_SECOND = 8000.0
GENERATED_TOKENS_PER_SECOND = 40.0


def traces_directory() -> Path:
    """Return the directory of the traces. Raises CannotRunError if it is absent."""
    directory = Path(os.environ.get("AGENTPOOL_TRACES", "../shared/traces"))
    missing = [file for file in TRACES.values() if not (directory / file).exists()]
    if missing:
        raise CannotRunError(f"{directory} has no {missing[0]}; name the traces' directory: --traces DIR")
    return directory


def trace(name: str, directory: Path) -> Workload:
    """Return a real trace. Raises FileNotFoundError if the directory does not contain the trace."""
    jobs: list[Job] = []
    begin: datetime | None = None
    with (directory / TRACES[name]).open(newline="") as lines:
        for row in csv.DictReader(lines):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            begin = begin or at
            service_s = (
                BASE_SECONDS
                + int(row["ContextTokens"]) / CONTEXT_TOKENS_PER_SECOND
                + int(row["GeneratedTokens"]) / GENERATED_TOKENS_PER_SECOND
            )
            jobs.append(Job((at - begin).total_seconds(), service_s))
    return Workload(name=name, jobs=tuple(sorted(jobs, key=lambda job: job.at)))


def busiest(load: Workload, span_s: float) -> Workload:
    """Return the part of this length with the most work, from its first arrival."""
    until, work_s, best, best_s = 0, 0.0, (0, 0), -1.0
    for first, job in enumerate(load.jobs):
        while until < len(load.jobs) and load.jobs[until].at < job.at + span_s:
            work_s += load.jobs[until].service_s
            until += 1
        if work_s > best_s:
            best, best_s = (first, until), work_s
        work_s -= job.service_s
    chosen = load.jobs[slice(*best)]
    return Workload(name=load.name, jobs=tuple(Job(job.at - chosen[0].at, job.service_s) for job in chosen))


def step(seed: int = 1) -> Workload:
    """Twenty minutes at 2 jobs a second, then twenty at 8, then twenty at 2; jobs of 3 s in the mean."""
    return _poisson("step", 3600.0, lambda at: 8.0 if STEP_UP_SECONDS <= at < STEP_DOWN_SECONDS else 2.0, 3.0, seed)


def spikes(seed: int = 2) -> Workload:
    """Every ten minutes 150 jobs of 4 s in the mean within ten seconds, for two hours."""
    draw = random.Random(seed)
    jobs = [
        Job(begin + draw.uniform(0, 10), draw.expovariate(1 / 4.0))
        for begin in range(300, 7200, 600)
        for _ in range(150)
    ]
    return Workload(name="spikes", jobs=tuple(sorted(jobs, key=lambda job: job.at)))


def diurnal(seed: int = 3) -> Workload:
    """Return a day in six hours: the rate swings between 0.3 and 9 jobs a second; jobs take 3 s in the mean."""
    day_s = 21_600.0
    middle, swing = 4.65, 4.35

    def rate(at: float) -> float:
        return middle - swing * math.cos(2 * math.pi * at / day_s)

    return _poisson("diurnal", day_s, rate, 3.0, seed)


def long_jobs(seed: int = 4, *, busy: float = 35.0, mean_s: float = 90.0) -> Workload:
    """Return an hour of long jobs on many slots; the rate jitters from minute to minute."""
    return _jittered(f"long jobs {seed}", seed, busy=busy, mean_s=mean_s)


def few_long_jobs(seed: int = 5, *, busy: float = 2.0, mean_s: float = 90.0) -> Workload:
    """Return an hour of long jobs on few slots."""
    return _jittered(f"few long jobs {seed}", seed, busy=busy, mean_s=mean_s)


def levels(seed: int = 6) -> Workload:
    """Return two hours at levels that change by chance every few minutes: each change finds too few or too many."""
    draw = random.Random(seed)
    mean_s, top, stay_s = draw.uniform(2, 12), draw.uniform(30, 70), draw.uniform(240, 720)
    edges, heights, at = [0.0], [draw.uniform(0.1, 1.0)], 0.0
    while (at := at + draw.expovariate(1 / stay_s)) < 7200.0:  # noqa: PLR2004 - the span
        edges.append(at)
        heights.append(draw.uniform(0.1, 1.0))

    def rate(now: float) -> float:
        return top / mean_s * heights[bisect.bisect(edges, now) - 1]

    return _poisson(f"levels {seed}", 7200.0, rate, mean_s, seed, highest=top / mean_s)


def _jittered(name: str, seed: int, *, busy: float, mean_s: float) -> Workload:
    draw = random.Random(seed)
    jitter = [draw.uniform(0.6, 1.4) for _ in range(61)]
    highest = 1.4 * busy / mean_s
    return _poisson(name, 3600.0, lambda now: busy / mean_s * jitter[int(now // 60)], mean_s, seed, highest=highest)


def mornings(seed: int = 7) -> Workload:
    """Return five days: jobs of 20 s for 40 busy slots from 9 to 10 o'clock, otherwise a job a minute."""
    draw, jobs, at, mean_s = random.Random(seed), [], 0.0, 20.0
    while at < 5 * DAY_SECONDS:
        busy = BEGIN_SECONDS <= at % DAY_SECONDS < BEGIN_SECONDS + 3600.0
        at += draw.expovariate(40.0 / mean_s if busy else 1 / 60.0)
        jobs.append(Job(at, draw.expovariate(1 / mean_s)))
    return Workload(name="mornings", jobs=tuple(jobs))


def bursts(seed: int) -> Workload:
    """Two hours of bursts that come by chance, 20 to 200 jobs each, 1 to 15 minutes apart, over a quiet ground."""
    draw = random.Random(seed)
    mean_s, gap_s, size = draw.uniform(1, 6), draw.uniform(60, 900), draw.uniform(20, 200)
    jobs = list(_poisson("", 7200.0, lambda _: 0.2, mean_s, seed).jobs)
    at = draw.expovariate(1 / gap_s)
    while at < 7200.0:  # noqa: PLR2004 - the span
        count = 1 + int(draw.expovariate(1 / size))
        jobs += [Job(at + draw.uniform(0, 15), draw.expovariate(1 / mean_s)) for _ in range(count)]
        at += draw.expovariate(1 / gap_s)
    return Workload(name=f"bursts {seed}", jobs=tuple(sorted(jobs, key=lambda job: job.at)))


def on_off(seed: int) -> Workload:
    """Two hours in which a source is on and off for times drawn by chance (a Markov-modulated Poisson process)."""
    draw = random.Random(seed)
    mean_s, busy, on_s, off_s = draw.uniform(1, 8), draw.uniform(10, 60), draw.uniform(60, 600), draw.uniform(60, 900)
    switches, at, on = [], 0.0, False
    while at < 7200.0:  # noqa: PLR2004 - the span
        at += draw.expovariate(1 / (on_s if on else off_s))
        switches.append((at, on := not on))
    edges = [edge for edge, _ in switches]

    def rate(now: float) -> float:
        passed = bisect.bisect(edges, now)
        return busy / mean_s if passed and switches[passed - 1][1] else 0.05

    return _poisson(f"on/off {seed}", 7200.0, rate, mean_s, seed, highest=busy / mean_s)


def day(seed: int) -> Workload:
    """Return a day in three hours with random height, job length and noise: the rate jitters from minute to minute."""
    draw = random.Random(seed)
    mean_s, busy = draw.uniform(1, 8), draw.uniform(15, 70)
    jitter = [draw.uniform(0.6, 1.4) for _ in range(181)]

    def rate(now: float) -> float:
        return busy / mean_s * (0.05 + 0.475 * (1 - math.cos(2 * math.pi * now / 10_800.0))) * jitter[int(now // 60)]

    return _poisson(f"day {seed}", 10_800.0, rate, mean_s, seed, highest=1.4 * busy / mean_s)


def _poisson(
    name: str,
    span_s: float,
    rate: Callable[[float], float],
    mean_s: float,
    seed: int,
    *,
    highest: float | None = None,
) -> Workload:
    draw = random.Random(seed)
    highest = highest or max(rate(at) for at in range(0, int(span_s), 10))
    jobs, at = [], 0.0
    while (at := at + draw.expovariate(highest)) < span_s:
        if draw.random() < rate(at) / highest:
            jobs.append(Job(at, draw.expovariate(1 / mean_s)))
    return Workload(name=name, jobs=tuple(jobs))
