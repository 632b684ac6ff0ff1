"""The queue's speed: a worker process of 100 slots, every feature on, beside the tightest loop and the peers.

The raw loop is XREADGROUP COUNT 100, a task for each entry, then XACK and XDEL of the hundred in a pipeline; the loop
keeps no job state. Contenders take turns, each round in fresh processes and on a fresh server, so that noise of the
machine affects all of them; all run on uvloop, as our worker does if installed, and all run the same number of jobs.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.peers import PEERS, node, versions
from bench.queue import capacity, recovery
from bench.queue.contender import redis_server, run_contender, run_peer
from bench.report import Figure, Report, quick

NAME = "queue"
ROUNDS = 5
JOBS = 20_000
MIXED_JOBS = 200
MEMORY_JOBS = 100_000  # many, compared with capped or fixed memory
DEEPEST, DEEPEST_QUICK = 1_000_000, 100_000  # queued jobs before a claim
FLAT = 1 / 1.2  # cheapest / dearest claim
RAW, OURS, NODE = "raw loop", "agentpool", "bullmq"
BLOCKING = "dramatiq: one by one, blocking jobs/s"
ALL_PEERS = (*PEERS, *node.NODE_PEERS)
MODULES = {RAW: "bench.queue.raw", OURS: "bench.queue.ours"}
LEAST = {
    "drain: agentpool / best peer": 3.0,
    "drain: agentpool / raw loop": 0.5,
    "drain, server time: best peer / agentpool": round(1 / 0.75, 3),
    "bulk submit: agentpool / best peer": 2.0,
    "one by one await submit: agentpool / best peer": 1.5,
    "memory: bare stream entry / queued job": round(1 / 1.7, 3),
    "mixed makespan: raw loop / agentpool": 0.99,
    "mixed makespan: best peer / agentpool": 1.0,
    "recovery: lease + run + 2 s / measured": 1.0,
    "recovery: ended exactly once / jobs": 1.0,
    "claim cost: cheapest depth / dearest": round(FLAT, 3),
}


async def run() -> Report:
    """Run all rounds of all contenders."""
    return await asyncio.to_thread(_run)


def _run() -> Report:
    peers = versions() | node.install()
    rounds: dict[str, list[float]] = defaultdict(list)
    for _ in range(1 if quick() else ROUNDS):
        for name in (*MODULES, *ALL_PEERS):
            for figure, value in _round(name).items():
                rounds[f"{name}: {figure}"].append(value)
        for figure, value in _ours_alone(DEEPEST_QUICK if quick() else DEEPEST):
            rounds[f"{OURS}: {figure}"].append(value)
    figures = {name: Figure(unit=name.rpartition(" ")[2], runs=tuple(values)) for name, values in rounds.items()}
    return Report(
        name=NAME,
        figures=figures,
        ratios=_ratios({name: figure.median for name, figure in figures.items()}) | ratios_alone(rounds),
        required=LEAST,
        notes=[
            f"drain: {JOBS} no-op jobs, 100 slots; {ROUNDS} rounds in turn",
            "dramatiq has no submit to await: one by one is through asyncio.to_thread, its own send beside it",
            f"recovery: {recovery.JOBS} jobs of {recovery.RUN_SECONDS:g} s; the worst",
            f"recovery: the worker is killed at {recovery.KILL_AFTER_SECONDS:g} s",
            f"memory: {MEMORY_JOBS} jobs of 200 bytes; claims: {capacity.CLAIM} a call, the server's own time",
            f"mixed: {MIXED_JOBS} jobs of 10 ms, each tenth 1 s, 10 slots; a peer's includes its worker's start",
            "the raw loop keeps no job state: no payload beside the entry, no result, no lease, no event",
            "peers: " + ", ".join(f"{name} {version}" for name, version in peers.items()),
        ],
    )


def _round(name: str) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for measure, jobs in (("throughput", JOBS), ("mixed", MIXED_JOBS)):
        with redis_server() as url:
            if name in MODULES:
                found |= run_contender(MODULES[name], measure, redis_url=url, jobs=jobs, loop="uvloop")
            else:
                found |= run_peer(name, measure, redis_url=url, jobs=jobs)
    return found


def _ours_alone(deepest: int) -> Iterator[tuple[str, float]]:
    """Yield the measures without peers: a worker's loss, memory, and the depth of the queue."""
    alone = [("recovery", "recovery", recovery.JOBS), ("capacity", "memory", MEMORY_JOBS)]
    for module, measure, jobs in [*alone, ("capacity", "claims", deepest)]:
        with redis_server() as url:
            found = run_contender(f"bench.queue.{module}", measure, redis_url=url, jobs=jobs, loop="uvloop")
            yield from found.items()


def ratios_alone(rounds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Of the worst round for a loss, of the median for sizes."""
    claims = [statistics.median(runs) for name, runs in rounds.items() if name.startswith(f"{OURS}: claim of ")]
    recovered, once = rounds[f"{OURS}: recovery after kill -9 s"], rounds[f"{OURS}: ended exactly once jobs"]
    bare, queued = rounds[f"{OURS}: bare stream entry bytes"], rounds[f"{OURS}: queued job bytes"]
    return {
        "recovery: lease + run + 2 s / measured": recovery.ALLOWED_SECONDS / max(recovered),
        "recovery: ended exactly once / jobs": min(once) / recovery.JOBS,
        "memory: bare stream entry / queued job": statistics.median(bare) / statistics.median(queued),
        "claim cost: cheapest depth / dearest": min(claims) / max(claims),
    }


def _ratios(median: Mapping[str, float]) -> dict[str, float]:
    def best(figure: str, choose: Callable[..., float] = max) -> float:
        return choose(median[f"{peer}: {figure}"] for peer in ALL_PEERS)

    server = "drain server us/job"
    drain, bulk, each, makespan = "drain jobs/s", "bulk jobs/s", "one by one jobs/s", "mixed makespan s"
    return {
        "drain: agentpool / best peer": median[f"{OURS}: {drain}"] / best(drain),
        "drain: agentpool / raw loop": median[f"{OURS}: {drain}"] / median[f"{RAW}: {drain}"],
        "drain, server time: best peer / agentpool": best(server, min) / median[f"{OURS}: {server}"],
        "drain, server time: raw loop / agentpool": median[f"{RAW}: {server}"] / median[f"{OURS}: {server}"],
        f"drain: agentpool / {NODE}": median[f"{OURS}: {drain}"] / median[f"{NODE}: {drain}"],
        f"one by one await submit: agentpool / {NODE}": median[f"{OURS}: {each}"] / median[f"{NODE}: {each}"],
        "bulk submit: agentpool / best peer": median[f"{OURS}: {bulk}"] / best(bulk),
        "bulk submit: agentpool / raw XADD": median[f"{OURS}: {bulk}"] / median[f"{RAW}: {bulk}"],
        "one by one await submit: agentpool / best peer": median[f"{OURS}: {each}"] / best(each),
        "one by one await submit: agentpool / a send that blocks": median[f"{OURS}: {each}"] / median[BLOCKING],
        "one by one await submit: agentpool / raw XADD": median[f"{OURS}: {each}"] / median[f"{RAW}: {each}"],
        "mixed makespan: raw loop / agentpool": median[f"{RAW}: {makespan}"] / median[f"{OURS}: {makespan}"],
        "mixed makespan: best peer / agentpool": best(makespan, min) / median[f"{OURS}: {makespan}"],
    }
