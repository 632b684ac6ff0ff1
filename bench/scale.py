"""Worker processes on one server: the rate at which N of them drain, and what a job costs the server.

N is 1, 2, 4, 8 and 14, as far as the machine has cores. Each contender's workers drain a filled queue, at 100 slots
each, and add their ended jobs to a common counter. The figures are between a tenth and nine tenths of the jobs, so the
starts of the processes do not count. The server's time is its own account of its CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import redis

from bench.peers import node, versions
from bench.queue.contender import CHECKOUT, DONE, contender_command, peer_command, redis_server
from bench.report import CannotRunError, Figure, Report, quick

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NAME = "scale"
ROUNDS = 5
PROCESSES = (1, 2, 4, 8, 14)
JOBS_A_WORKER, JOBS_QUICK = 12_000, 2_000
FROM, TO = 0.1, 0.9  # of the jobs
SAMPLE_SECONDS = 0.01
RUN_WITHIN_SECONDS = 300.0
OURS = "agentpool"
PEERS = ("taskiq", "dramatiq", "bullmq")
LEAST_AT = (2, 8, 14)  # processes at which the bars apply
LEAST_DRAIN, LEAST_SERVER = 1.5, round(1 / 0.75, 3)


async def run() -> Report:
    """Run all rounds of all contenders, in turn."""
    return await asyncio.to_thread(_run)


def _run() -> Report:
    peers = versions() | node.install()
    counts = [count for count in PROCESSES if count <= (os.cpu_count() or 1)]
    rounds: dict[str, list[float]] = defaultdict(list)
    for _ in range(1 if quick() else ROUNDS):
        for count in counts:
            for name in (OURS, *PEERS):
                for figure, value in _drain(name, count).items():
                    rounds[f"{name}, {count}: {figure}"].append(value)
    figures = {name: Figure(unit=name.rpartition(" ")[2], runs=tuple(values)) for name, values in rounds.items()}
    ratios, required = _ratios({name: figure.median for name, figure in figures.items()}, counts)
    return Report(
        name=NAME,
        figures=figures,
        ratios=ratios,
        required=required,
        notes=[
            f"{JOBS_A_WORKER} no-op jobs a worker process, 100 slots each, one server; {os.cpu_count()} cores",
            "peers: " + ", ".join(f"{name} {version}" for name, version in peers.items()),
        ],
    )


def _ratios(median: Mapping[str, float], counts: Sequence[int]) -> tuple[dict[str, float], dict[str, float]]:
    ratios: dict[str, float] = {}
    required: dict[str, float] = {}
    for count in counts:
        drain = max(median[f"{peer}, {count}: jobs/s"] for peer in PEERS)
        server = min(median[f"{peer}, {count}: server us/job"] for peer in PEERS)
        here = {
            f"{count}: drain, agentpool / best peer": median[f"{OURS}, {count}: jobs/s"] / drain,
            f"{count}: server time, best peer / agentpool": server / median[f"{OURS}, {count}: server us/job"],
        }
        ratios |= here
        if count in LEAST_AT:
            required |= dict(zip(here, (LEAST_DRAIN, LEAST_SERVER), strict=True))
    return ratios, required


def _drain(name: str, count: int) -> Mapping[str, float]:
    jobs = count * (JOBS_QUICK if quick() else JOBS_A_WORKER)
    with redis_server() as url, redis.Redis.from_url(url) as client:
        filled = subprocess.run(
            _command(name, "fill", url, jobs), cwd=CHECKOUT, check=False, capture_output=True, text=True
        )
        if filled.returncode != 0:
            raise CannotRunError(f"{name} could not fill the queue: {filled.stderr.strip()[-500:]}")
        with _workers([_command(name, "drain", url, number) for number in range(count)]):
            first, last = (_sample(client, round(share * jobs), name) for share in (FROM, TO))
    done, took, server_us = (after - before for before, after in zip(first, last, strict=True))
    return {"jobs/s": done / took, "server us/job": server_us / done}


def _command(name: str, role: str, url: str, number: int) -> list[str]:
    if name == OURS:
        return contender_command("bench.queue.ours", role, redis_url=url, jobs=number, loop="uvloop")
    return peer_command(name, role, redis_url=url, jobs=number)


@contextlib.contextmanager
def _workers(commands: Sequence[Sequence[str]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for command in commands:
            process = stack.enter_context(subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL))
            stack.callback(process.kill)
        yield


def _sample(client: redis.Redis, jobs: int, name: str) -> tuple[float, float, float]:
    """Return jobs done, time in seconds and the server's microseconds, once that many jobs are done."""
    deadline = time.monotonic() + RUN_WITHIN_SECONDS
    while (done := int(client.get(DONE) or 0)) < jobs:
        if time.monotonic() > deadline:
            raise CannotRunError(f"{name} drained {done} of {jobs} jobs in {RUN_WITHIN_SECONDS:g} s")
        time.sleep(SAMPLE_SECONDS)
    cpu = client.info("cpu")
    return done, time.perf_counter(), (cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1e6
