"""A peer's measures, in a separate process: `python -m bench.peers.measure PEER MEASURE --redis URL --jobs N`.

throughput and mixed print their figures. work and submit are the two processes of the dispatch measure, of which work
prints each job's delay; fill and drain are those of the bench of scale. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import time
from typing import Any

import redis.asyncio
import uvloop

from bench.peers import PEERS, Jobs, Peer
from bench.queue.contender import count_done, server_us

SLOTS, MIXED_SLOTS = 100, 10
POLL_SECONDS = 0.002
APART_SECONDS = 0.02  # between the submits of the dispatch measure
SETTLED_SECONDS = 1.0  # after which a worker that was started listens
READY = "bench:worker-listens"


async def open_peer(name: str, url: str, jobs: Jobs) -> Peer:
    """Return the connected peer; the end of the process disconnects it."""
    peer: Peer = importlib.import_module(f"bench.peers.{name}").Peer(url, jobs)
    await peer.open()
    return peer


async def worked(peer: Peer, jobs: Jobs, slots: int) -> float:
    """Work until all jobs are done; return the time in seconds."""
    began = time.perf_counter()
    life = asyncio.create_task(peer.work(slots))
    while jobs.done < jobs.expected and not life.done():  # noqa: ASYNC110  # threads count, too
        await asyncio.sleep(POLL_SECONDS)
    took = time.perf_counter() - began
    if life.done():
        life.result()
    return took


async def throughput(name: str, url: str, count: int) -> dict[str, float]:
    """Bulk and single submits, and the drain of all of them."""
    singles = count // 10
    jobs = Jobs(count + singles)
    peer = await open_peer(name, url, jobs)
    began = time.perf_counter()
    await peer.submit_many("noop", range(count))
    figures = {"bulk jobs/s": count / (time.perf_counter() - began)}
    ways = {"one by one jobs/s": peer.submit}
    if hasattr(peer, "submit_awaited"):
        ways = {"one by one jobs/s": peer.submit_awaited, "one by one, blocking jobs/s": peer.submit}
    for figure, submit in ways.items():
        began = time.perf_counter()
        for number in range(singles // len(ways)):
            await submit("noop", number)
        figures[figure] = singles // len(ways) / (time.perf_counter() - began)
    async with redis.asyncio.Redis.from_url(url) as client:
        before = await server_us(client)
        figures["drain jobs/s"] = jobs.expected / await worked(peer, jobs, SLOTS)
        figures["drain server us/job"] = (await server_us(client) - before) / jobs.expected
    return figures


async def mixed(name: str, url: str, count: int) -> dict[str, float]:
    """Run jobs of 10 ms, each tenth of 1 s, in 10 slots; return the time until all are done, start included."""
    jobs = Jobs(count)
    peer = await open_peer(name, url, jobs)
    await peer.submit_many("sleep", range(count))
    return {"mixed makespan s": await worked(peer, jobs, MIXED_SLOTS)}


async def work(name: str, url: str, count: int) -> list[float]:
    """Run the worker until all jobs have come; return their delays."""
    jobs = Jobs(count)
    peer = await open_peer(name, url, jobs)
    working = asyncio.create_task(worked(peer, jobs, MIXED_SLOTS))
    await asyncio.sleep(SETTLED_SECONDS)
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.set(READY, 1)
    await working
    return jobs.delays_ms


async def submit(name: str, url: str, count: int) -> list[float]:
    """Submit jobs in sequence, once a worker listens."""
    async with redis.asyncio.Redis.from_url(url) as client:
        while not await client.get(READY):  # noqa: ASYNC110  # another process's state
            await asyncio.sleep(APART_SECONDS)
    peer = await open_peer(name, url, Jobs(0))
    for _ in range(count):
        await peer.submit("stamp", time.monotonic_ns())
        await asyncio.sleep(APART_SECONDS)
    return []


async def fill(name: str, url: str, count: int) -> dict[str, float]:
    """Submit the jobs of the bench of scale."""
    peer = await open_peer(name, url, Jobs(0))
    await peer.submit_many("noop", range(count))
    return {}


async def drain(name: str, url: str, _number: int) -> dict[str, float]:
    """Work until killed, as one of several processes."""
    jobs = Jobs(0)
    peer = await open_peer(name, url, jobs)
    await asyncio.gather(peer.work(SLOTS), count_done(url, lambda: jobs.done))
    return {}


MEASURES: dict[str, Any] = {
    "throughput": throughput, "mixed": mixed, "work": work, "submit": submit, "fill": fill, "drain": drain,
}  # fmt: skip


async def run(measure: Any, peer: str, url: str, jobs: int) -> None:
    """Print the measurement and exit at once: the shutdown of a peer's worker is not measured."""
    print(json.dumps(await measure(peer, url, jobs)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("measure", choices=sorted(MEASURES))
    parser.add_argument("--redis", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    options = parser.parse_args()
    uvloop.run(run(MEASURES[options.measure], options.peer, options.redis, options.jobs))
