"""Dispatch latency of a job to an idle worker: from just before its submit to the handler's first line.

Compared with a blocking read (XADD here, XREADGROUP BLOCK there) and with the peers. The submitter is a separate
process; both read the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from collections import defaultdict

from bench.peers import PEERS, versions
from bench.queue.contender import redis_server
from bench.report import CannotRunError, Figure, Report

NAME = "dispatch"
ROUNDS = 5
JOBS = 300
APART_MS = 20
CONTENDERS = {"raw blocking read": "bench.dispatch.raw", "agentpool": "bench.dispatch.ours"}
LEAST_P50 = round(1 / 1.5, 3)  # raw p50 / ours
RUN_WITHIN_SECONDS = 120.0


async def run() -> Report:
    """Run all rounds of all contenders, in turn."""
    return await asyncio.to_thread(_run)


def _run() -> Report:
    peers = versions()
    rounds: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name in (*CONTENDERS, *PEERS):
            delays = _delays_ms(name)
            rounds[f"{name}: p50"].append(statistics.median(delays))
            rounds[f"{name}: p99"].append(statistics.quantiles(delays, n=100)[98])
    figures = {name: Figure(unit="ms", runs=tuple(values)) for name, values in rounds.items()}
    raw, ours = CONTENDERS

    def ratio(other: str, at: str) -> float:
        return figures[f"{other}: {at}"].median / figures[f"{ours}: {at}"].median

    def best(at: str) -> str:
        return min(PEERS, key=lambda peer: figures[f"{peer}: {at}"].median)

    return Report(
        name=NAME,
        figures=figures,
        ratios={
            "p50: raw blocking read / agentpool": ratio(raw, "p50"),
            "p99: raw blocking read / agentpool": ratio(raw, "p99"),
            "p50: best peer / agentpool": ratio(best("p50"), "p50"),
            "p99: best peer / agentpool": ratio(best("p99"), "p99"),
        },
        required={
            "p50: raw blocking read / agentpool": LEAST_P50,
            "p50: best peer / agentpool": 1.0,
            "p99: best peer / agentpool": 1.0,
        },
        notes=[
            f"{JOBS} jobs {APART_MS} ms apart, {ROUNDS} rounds in turn, uvloop for all",
            "peers: " + ", ".join(f"{name} {version}" for name, version in peers.items()),
        ],
    )


def _delays_ms(name: str) -> list[float]:
    """Run a round: a worker process, and the submits in a second process."""
    with (
        redis_server() as url,
        subprocess.Popen(_command(name, "work", url), stdout=subprocess.PIPE, text=True) as worker,
    ):
        submits = subprocess.run(
            _command(name, "submit", url), timeout=RUN_WITHIN_SECONDS, check=False, capture_output=True, text=True
        )
        if submits.returncode != 0:
            worker.kill()
            raise CannotRunError(f"{name} could not submit: {submits.stderr.strip()[-500:]}")
        try:
            output, _ = worker.communicate(timeout=RUN_WITHIN_SECONDS)
        except subprocess.TimeoutExpired as error:
            worker.kill()
            raise CannotRunError(f"{name} did not run all jobs") from error
    if worker.returncode != 0:
        raise CannotRunError(f"{name} could not work")
    delays: list[float] = json.loads(output.strip().splitlines()[-1])
    return delays


def _command(name: str, role: str, url: str) -> list[str]:
    if name in CONTENDERS:
        return [sys.executable, "-m", CONTENDERS[name], role, url, str(JOBS)]
    return [sys.executable, "-m", "bench.peers.measure", name, role, "--redis", url, "--jobs", str(JOBS)]
