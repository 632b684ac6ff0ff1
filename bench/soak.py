"""A quarter of an hour of steady load: the worker's memory and open files stay flat.

Jobs of every sort come at a steady pace: fast jobs, jobs in threads, jobs that fail and are retried, jobs that store
checkpoints. The ratios compare the first quarter after the warm-up with the last; a load or a worker that ends early
ends the run with the error. Memory and open files over time are printed, and drawn into the PNG that `SOAK_PLOT` names
(if matplotlib is installed). `SOAK_SECONDS` shortens the run.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from agentpool_core.jobs import JobRequest
from agentpool_core.process.cancellation import run_until_first_end
from agentpool_core.queue import PoolSettings
from bench.report import CannotRunError, Figure, Report
from bench.stage import stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.stage import Stage

NAME = "soak"
DEFAULT_SECONDS = 900.0
WARM_UP_SHARE = 0.2  # of the time: allocators and caches fill
SAMPLES = 120
BATCH = 50  # jobs submitted at once
PACE_SECONDS = 0.2  # between batches
MOST_QUEUED = 1_000  # a machine that cannot keep up gets no more
KINDS = ("noop", "work", "in-thread", "fails-once", "saves-state")
RETENTION_MS = 5_000  # ended jobs leave Redis soon, so that the memory of Redis is flat too
QUIET = ("--log-level", "error")  # jobs that fail once are part of the load
FLAT = 0.98  # first quarter's memory over the last's: the rest is about ten bytes a job, less than any object
FEW = 0.95  # first quarter's open files over the last's: allows a difference of a single connection
STEADY = 0.9  # throughput of the slower quarter over the faster: an idle worker stays flat as well
PLOT_WIDTH = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The worker at a moment."""

    at_s: float
    memory_mib: float
    files: int
    done: int


async def run() -> Report:
    """Load, sample and compare."""
    seconds = float(os.environ.get("SOAK_SECONDS", DEFAULT_SECONDS))
    settings = PoolSettings(concurrency=50, retry_initial_ms=10, retry_max_ms=20, retention_results_ms=RETENTION_MS)
    async with stage(settings) as place, place.workers(1, *QUIET):
        samples = await under_load(place, seconds)
    if plot := os.environ.get("SOAK_PLOT"):
        _draw(samples, Path(plot))
    return report(samples, seconds)


def report(samples: Sequence[Sample], seconds: float) -> Report:
    """Return the report of a run of this length."""
    first, last = _quarters(samples)
    slower, faster = sorted((_rate(first), _rate(last)))
    return Report(
        name=NAME,
        figures={
            "memory": Figure(unit="MiB", runs=tuple(sample.memory_mib for sample in samples)),
            "open files": Figure(unit="", runs=tuple(float(sample.files) for sample in samples)),
            "jobs": Figure(unit="1/s", runs=(_rate(samples),)),
        },
        ratios={
            "memory, first quarter / last": _median(first, "memory_mib") / _median(last, "memory_mib"),
            "open files, first quarter / last": _median(first, "files") / _median(last, "files"),
            "jobs a second, slower quarter / other": slower / faster if faster else 0.0,
        },
        required={
            "memory, first quarter / last": FLAT,
            "open files, first quarter / last": FEW,
            "jobs a second, slower quarter / other": STEADY,
        },
        notes=[f"{seconds:g} s, {BATCH / PACE_SECONDS:g} jobs/s asked for", *_plot(samples)],
    )


async def under_load(place: Stage, seconds: float) -> list[Sample]:
    """Sample the worker while jobs come. Raises the error that ends the load."""
    samples: list[Sample] = []
    await run_until_first_end(_load(place), _watch(place, seconds, samples))
    return samples


async def _load(place: Stage) -> None:
    """Keep some jobs waiting, never many."""
    while True:
        if await place.left() < MOST_QUEUED:
            kinds = KINDS * (BATCH // len(KINDS))
            await place.producer.submit_many([JobRequest(kind=kind, payload=0.002) for kind in kinds])
        await asyncio.sleep(PACE_SECONDS)


async def _watch(place: Stage, seconds: float, samples: list[Sample]) -> None:
    begun = time.monotonic()
    for _ in range(SAMPLES):
        await asyncio.sleep(seconds / SAMPLES)
        (worker,) = psutil.Process(place.pids[0]).children()  # beside its supervisor, which runs no jobs
        samples.append(
            Sample(
                at_s=time.monotonic() - begun,
                memory_mib=worker.memory_info().rss / 2**20,
                files=worker.num_fds(),
                done=await place.finished(),
            )
        )


def _quarters(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    quarter = len(warm) // 4
    return warm[:quarter], warm[-quarter:]


def _rate(samples: Sequence[Sample]) -> float:
    first, last = samples[0], samples[-1]
    return (last.done - first.done) / (last.at_s - first.at_s)


def _median(samples: Sequence[Sample], field: str) -> float:
    return statistics.median(getattr(sample, field) for sample in samples)


def _plot(samples: Sequence[Sample]) -> list[str]:
    """Memory over time, a bar for every few samples."""
    most = max(sample.memory_mib for sample in samples)
    shown = samples[:: max(1, len(samples) // 20)]
    return [
        f"{sample.at_s:7.0f} s {sample.memory_mib:7.1f} MiB {sample.files:4d} files "
        + "#" * round(sample.memory_mib / most * PLOT_WIDTH)
        for sample in shown
    ]


def _draw(samples: Sequence[Sample], path: Path) -> None:
    """Draw the same as a picture. Raises CannotRunError without matplotlib."""
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        remedy = "pip install 'agentpool-core[bench]'"
        raise CannotRunError(f"SOAK_PLOT: {error.name} is not installed; {remedy}") from error
    canvas = Canvas(figsize=(9, 6), layout="constrained")
    memory, files, jobs = canvas.subplots(3, sharex=True)
    minutes = [sample.at_s / 60 for sample in samples]
    rates = [
        (after.done - before.done) / (after.at_s - before.at_s)
        for before, after in itertools.pairwise((Sample(at_s=0.0, memory_mib=0.0, files=0, done=0), *samples))
    ]
    lines = (
        (memory, [sample.memory_mib for sample in samples], "memory, MiB"),
        (files, [float(sample.files) for sample in samples], "open files"),
        (jobs, rates, "jobs ended, 1/s"),
    )
    for axes, values, reported in lines:
        axes.plot(minutes, values)
        axes.set_ylabel(reported)
        axes.set_ylim(0, max(values) * 1.2)  # from zero, so flat looks flat
    jobs.set_xlabel("minutes")
    canvas.suptitle("One worker under steady load")
    canvas.savefig(path)
