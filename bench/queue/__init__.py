"""The queue's speed: one worker process of 100 slots, every feature on, beside the tightest loop that Redis allows.

Contenders take turns, each round in processes of their own and on a fresh server, so that a noisy machine is noisy for
all of them. Peers come in as further contenders once their packages are installed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from bench.queue.contender import redis_server, run_contender
from bench.report import Figure, Report

NAME = "queue"
ROUNDS = 5
JOBS = 20_000
MIXED_JOBS = 200
CONTENDERS = {  # module and event loop
    "raw loop": ("bench.queue.raw", "asyncio"),
    "raw loop, uvloop": ("bench.queue.raw", "uvloop"),
    "agentpool": ("bench.queue.ours", "uvloop"),  # the worker takes uvloop where it is installed
}
LEAST_DRAIN = 0.25  # of the raw loop
LEAST_MIXED = 0.99  # raw makespan / ours


async def run() -> Report:
    """All rounds of all contenders."""
    return await asyncio.to_thread(_run)


def _run() -> Report:
    rounds: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, (module, loop) in CONTENDERS.items():
            for measure, jobs in (("throughput", JOBS), ("mixed", MIXED_JOBS)):
                with redis_server() as url:
                    for figure, value in run_contender(module, measure, redis_url=url, jobs=jobs, loop=loop).items():
                        rounds[f"{name}: {figure}"].append(value)
    figures = {name: Figure(unit=name.rpartition(" ")[2], runs=tuple(values)) for name, values in rounds.items()}

    def of_raw(figure: str, raw: str = "raw loop") -> float:
        return figures[f"agentpool: {figure}"].median / figures[f"{raw}: {figure}"].median

    return Report(
        name=NAME,
        figures=figures,
        ratios={
            "drain: agentpool / raw loop": of_raw("drain jobs/s"),
            "drain: agentpool / raw loop on uvloop": of_raw("drain jobs/s", "raw loop, uvloop"),
            "bulk submit: agentpool / raw XADD": of_raw("bulk jobs/s"),
            "one by one: agentpool / raw XADD": of_raw("one by one jobs/s"),
            "mixed makespan: raw loop / agentpool": 1 / of_raw("mixed makespan s"),
        },
        required={
            "drain: agentpool / raw loop": LEAST_DRAIN,
            "mixed makespan: raw loop / agentpool": LEAST_MIXED,
        },
        notes=[
            f"drain: {JOBS} no-op jobs, 100 slots; {ROUNDS} rounds in turn",
            f"mixed: {MIXED_JOBS} jobs of 10 ms, each tenth 1 s, 10 slots",
            "the raw loop keeps no job state: no payload beside the entry, no result, no lease, no event",
            "peers are not measured here yet",
        ],
    )
