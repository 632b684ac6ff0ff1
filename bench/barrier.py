"""A barrier between supersteps, or each job as soon as its own parents have ended.

Chains of unequal jobs: in every step each chain has a short job, except a single chain with a long job, a different
chain each time. With the barrier, a step begins after the end of the whole previous step, so every step lasts as long
as its slowest job; with dependencies, a chain waits only for itself. The lower bound is the event loop alone, with the
same jobs and nothing between them.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from agentpool_core.jobs import JobId, JobRequest
from agentpool_core.queue import PoolSettings
from bench.report import Figure, Report
from bench.stage import stage

if TYPE_CHECKING:
    from agentpool_core.jobs import Job
    from bench.stage import Stage

NAME = "barrier"
CHAINS = 6  # also the number of steps: each chain has its long job once
SHORT_SECONDS, LONG_SECONDS = 0.1, 1.0
ROUNDS = 5
LEAST_GAIN = 2.0  # times faster than the barrier
WITHIN = 1.02  # relative to the event loop alone


async def run() -> Report:
    """Barrier, dependencies and the bare loop, alternately."""
    barrier, dependent, bare = [], [], []
    async with stage(PoolSettings(concurrency=CHAINS)) as place, place.workers(1):
        for number in range(ROUNDS):
            barrier.append(await _with_barrier(place))
            dependent.append(await _with_dependencies(place, number))
            bare.append(await _bare())
    figures = {"supersteps with a barrier": barrier, "dependencies": dependent, "the event loop alone": bare}
    found = {name: Figure(unit="s", runs=tuple(runs)) for name, runs in figures.items()}
    gain = found["supersteps with a barrier"].median / found["dependencies"].median
    bound = found["the event loop alone"].median / found["dependencies"].median
    return Report(
        name=NAME,
        figures=found,
        ratios={"barrier / dependencies": gain, "event loop alone / dependencies": bound},
        required={"barrier / dependencies": LEAST_GAIN, "event loop alone / dependencies": round(1 / WITHIN, 4)},
        notes=[
            f"{CHAINS} chains of {CHAINS} jobs, {SHORT_SECONDS:g} s each and once {LONG_SECONDS:g} s; {CHAINS} slots"
        ],
    )


def seconds(chain: int, step: int) -> float:
    """Return the run time of the chain's job of that step."""
    return LONG_SECONDS if chain == step else SHORT_SECONDS


async def _with_barrier(place: Stage) -> float:
    jobs: list[Job] = []
    for step in range(CHAINS):
        jobs += await place.run([JobRequest(kind="work", payload=seconds(chain, step)) for chain in range(CHAINS)])
    return _makespan_s(jobs)


async def _with_dependencies(place: Stage, number: int) -> float:
    def name(chain: int, step: int) -> JobId:
        return JobId(f"r{number}-c{chain}-s{step}")

    jobs = await place.run(
        [
            JobRequest(
                kind="work",
                job_id=name(chain, step),
                payload=seconds(chain, step),
                after=(name(chain, step - 1),) if step else (),
            )
            for step in range(CHAINS)
            for chain in range(CHAINS)
        ]
    )
    return _makespan_s(jobs)


def _makespan_s(jobs: list[Job]) -> float:
    """From the first submit to the last end, by the queue's own clock."""
    return (max(job.finished_at_ms or 0 for job in jobs) - min(job.submitted_at_ms for job in jobs)) / 1000


async def _bare() -> float:
    async def one(chain: int) -> None:
        for step in range(CHAINS):
            await asyncio.sleep(seconds(chain, step))

    begun = time.perf_counter()
    await asyncio.gather(*(one(chain) for chain in range(CHAINS)))
    return time.perf_counter() - begun
