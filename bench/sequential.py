"""A single job at a time per worker, or many under a semaphore: waiting time of a job before the start.

Twenty agent runs that mostly wait (as on a model's answer) reach a worker together. In sequence, the last starts after
the end of all others; with the Task preset of 20 slots, each starts at once.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from agentpool_core.jobs import JobRequest
from agentpool_core.queue import PoolSettings
from bench.report import Figure, Report
from bench.stage import stage

if TYPE_CHECKING:
    from agentpool_core.jobs import Job

NAME = "sequential"
JOBS = 20
RUN_SECONDS = 0.2
ROUNDS = 5
SLOTS = 20  # the preset of workload Task, profile Default
LEAST_GAIN = 50.0  # times: the wait of the last job, before and after


async def run() -> Report:
    """Return the delay before and after."""
    before = await _delays(1)
    after = await _delays(SLOTS)
    return Report(
        name=NAME,
        figures={
            "median delay, 1 slot": before[0],
            "longest delay, 1 slot": before[1],
            f"median delay, {SLOTS} slots": after[0],
            f"longest delay, {SLOTS} slots": after[1],
        },
        ratios={
            "longest delay before / after": before[1].median / max(after[1].median, 0.001),
            "median delay before / after": before[0].median / max(after[0].median, 0.001),
        },
        required={"longest delay before / after": LEAST_GAIN},
        notes=[f"{JOBS} jobs of {RUN_SECONDS:g} s at once to one worker; the clock counts whole milliseconds"],
    )


async def _delays(slots: int) -> tuple[Figure, Figure]:
    middle, longest = [], []
    async with stage(PoolSettings(concurrency=slots)) as place, place.workers(1):
        for _ in range(ROUNDS):
            jobs = await place.run([JobRequest(kind="work", payload=RUN_SECONDS)] * JOBS)
            delays = [_delay_s(job) for job in jobs]
            middle.append(statistics.median(delays))
            longest.append(max(delays))
    return Figure(unit="s", runs=tuple(middle)), Figure(unit="s", runs=tuple(longest))


def _delay_s(job: Job) -> float:
    return ((job.claimed_at_ms or 0) - job.submitted_at_ms) / 1000
