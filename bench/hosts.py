"""A slot per agent type, or limits per route across all workers: thirty mixed tasks on three hosts.

Ten code tasks of 30 s, ten text tasks of 20 s, ten reasoning tasks of 40 s, at a hundredth of their length. In sequence
they take 900 s; with a slot per type 400 s; with limits of 2, 3 and 2 they cannot take less than 200 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentpool_core.jobs import JobRequest
from agentpool_core.queue import PoolSettings, Route
from bench.report import Figure, Report
from bench.stage import stage

if TYPE_CHECKING:
    from agentpool_core.jobs import Job
    from bench.stage import Stage

NAME = "hosts"
SCALE = 100  # time is scaled down by this factor
SECONDS = {"code": 30, "text": 20, "reasoning": 40}
LIMITS = {"code": 2, "text": 3, "reasoning": 2}
TASKS = 10  # of each kind
HOSTS = 3
ROUNDS = 5
BOUND_SECONDS = 200.0  # reasoning: ten tasks of 40 s, two at a time
WITHIN = 1.03  # of the bound


async def run() -> Report:
    """Run the case in its three versions."""
    sequential = await _makespans(1, dict.fromkeys(LIMITS), "--concurrency", "1")
    one_slot = await _makespans(HOSTS, dict.fromkeys(LIMITS, 1))
    limits = await _makespans(HOSTS, LIMITS)
    return Report(
        name=NAME,
        figures={"one at a time": sequential, "one slot per type": one_slot, "limits 2/3/2": limits},
        ratios={
            "lower bound / limits 2/3/2": BOUND_SECONDS / limits.median,
            "one slot per type / limits 2/3/2": one_slot.median / limits.median,
            "one at a time / limits 2/3/2": sequential.median / limits.median,
        },
        required={"lower bound / limits 2/3/2": round(1 / WITHIN, 4)},
        notes=[f"scaled: {SCALE} s of the case take 1 s; the lower bound is {BOUND_SECONDS:g} s"],
    )


async def _makespans(hosts: int, limits: dict[str, int | None] | dict[str, int], *flags: str) -> Figure:
    routes = tuple(Route(name=kind, kinds=(kind,), max_running=limit) for kind, limit in limits.items())
    settings = PoolSettings(routes=routes, concurrency=sum(LIMITS.values()))
    async with stage(settings) as place, place.workers(hosts, *flags):
        runs = tuple([await _makespan(place) for _ in range(ROUNDS)])
    return Figure(unit="s", runs=runs)


async def _makespan(place: Stage) -> float:
    """From the first submit to the last end by the queue's own clock, in seconds of the case."""
    kinds = [kind for _ in range(TASKS) for kind in SECONDS]
    jobs: list[Job] = await place.run([JobRequest(kind=kind, payload=SECONDS[kind] / SCALE) for kind in kinds])
    begun = min(job.submitted_at_ms for job in jobs)
    ended = max(job.finished_at_ms or 0 for job in jobs)
    return (ended - begun) / 1000 * SCALE
