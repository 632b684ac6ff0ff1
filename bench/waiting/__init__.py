"""Waiting costs a record in Redis: memory of a waiting job, and the time from a signal to the handler.

`asleep` lets many jobs wait, removes the worker, and measures Redis; then one warm worker resumes some of the jobs, one
after the other. `from_zero` resumes a job on a pool of the real operator that has scaled to zero.
"""

from __future__ import annotations

import statistics
from collections import defaultdict

from bench.report import Figure, Report, quick
from bench.waiting.asleep import asleep
from bench.waiting.from_zero import from_zero

NAME = "waiting"

FULL = (100_000, 1_000, 3, 10)  # jobs, signals, rounds, starts from zero
QUICK = (2_000, 100, 1, 1)
WARM_BAR_MS, ZERO_BAR_S = 50.0, 2.0


async def run() -> Report:
    """Run all rounds."""
    jobs, signals, rounds, starts = QUICK if quick() else FULL
    runs: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        found = await asleep(jobs, signals)
        cuts = statistics.quantiles(found.resumes_s, n=100)
        runs["memory of a waiting job"].append(found.bytes_a_job)
        runs["jobs that fall asleep"].append(found.asleep_a_second)
        runs["workers while all wait"].append(found.workers)
        runs["demand while all wait"].append(found.ready)
        runs["signal to handler, warm worker: p50"].append(cuts[49] * 1000)
        runs["signal to handler, warm worker: p99"].append(cuts[98] * 1000)
    for started in await from_zero(starts):
        runs["signal to handler, from zero workers"].append(started.whole_s)
        runs["the worker's start, of that"].append(started.worker_s)
        runs["signal to handler, from zero workers, beside the start"].append(started.whole_s - started.worker_s)
    return report(runs, jobs, signals)


def report(runs: dict[str, list[float]], jobs: int, signals: int) -> Report:
    """Return the report; every round has to reach the bar of the start from zero."""
    beside = runs["signal to handler, from zero workers, beside the start"]
    figures = {name: Figure(unit=_unit(name), runs=tuple(values)) for name, values in runs.items()}
    return Report(
        name=NAME,
        figures=figures,
        ratios={
            "50 ms / signal to handler (p99), warm worker": (
                WARM_BAR_MS / figures["signal to handler, warm worker: p99"].median
            ),
            "2 s / signal to handler from zero, beside the worker's start": ZERO_BAR_S / max(beside),
        },
        required={
            "50 ms / signal to handler (p99), warm worker": 1.0,
            "2 s / signal to handler from zero, beside the worker's start": 1.0,
        },
        notes=[
            f"{jobs} jobs wait without a worker; then {signals} of them get a signal, one after the other",
            "memory: growth of the server's used memory, over the number of jobs",
            f"from zero: {len(beside)} starts by the operator on the devcluster; the slowest counts",
        ],
    )


def _unit(name: str) -> str:
    if "memory" in name:
        return "bytes"
    if "fall asleep" in name:
        return "1/s"
    if "warm" in name:
        return "ms"
    return "s" if "start" in name or "zero" in name else ""
