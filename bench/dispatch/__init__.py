"""The way of a job to an idle worker: from just before its submit to the handler's first line, beside a blocking read.

The submitter is a process of its own; both read the machine's one monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from collections import defaultdict

from bench.queue.contender import redis_server
from bench.report import CannotRunError, Figure, Report

NAME = "dispatch"
ROUNDS = 5
JOBS = 300
CONTENDERS = {"raw blocking read": "bench.dispatch.raw", "agentpool": "bench.dispatch.ours"}
LEAST_P50 = round(1 / 1.5, 3)  # raw p50 / ours
RUN_WITHIN_S = 120.0


async def run() -> Report:
    """All rounds of all contenders, in turn."""
    return await asyncio.to_thread(_run)


def _run() -> Report:
    rounds: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, module in CONTENDERS.items():
            delays = _delays_ms(module)
            rounds[f"{name}: p50"].append(statistics.median(delays))
            rounds[f"{name}: p99"].append(statistics.quantiles(delays, n=100)[98])
    figures = {name: Figure(unit="ms", runs=tuple(values)) for name, values in rounds.items()}
    raw, ours = CONTENDERS
    return Report(
        name=NAME,
        figures=figures,
        ratios={
            "p50: raw blocking read / agentpool": figures[f"{raw}: p50"].median / figures[f"{ours}: p50"].median,
            "p99: raw blocking read / agentpool": figures[f"{raw}: p99"].median / figures[f"{ours}: p99"].median,
        },
        required={"p50: raw blocking read / agentpool": LEAST_P50},
        notes=[f"{JOBS} jobs 20 ms apart, {ROUNDS} rounds in turn, uvloop for both", "peers are not measured here yet"],
    )


def _delays_ms(module: str) -> list[float]:
    """One round: a worker process, and in a second process the submits."""
    with redis_server() as url:
        worker = subprocess.Popen(
            [sys.executable, "-m", module, "work", url, str(JOBS)], stdout=subprocess.PIPE, text=True
        )
        with worker:
            submits = subprocess.run(
                [sys.executable, "-m", module, "submit", url, str(JOBS)],
                timeout=RUN_WITHIN_S,
                check=False,
                capture_output=True,
                text=True,
            )
            if submits.returncode != 0:
                worker.kill()
                raise CannotRunError(f"{module} could not submit: {submits.stderr.strip()[-500:]}")
            output, _ = worker.communicate(timeout=RUN_WITHIN_S)
    if worker.returncode != 0:
        raise CannotRunError(f"{module} could not work")
    delays: list[float] = json.loads(output.strip().splitlines()[-1])
    return delays
