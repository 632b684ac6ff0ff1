"""Jobs of 4 to 40 GiB on workers of 80 GiB: the queue's own claims on a virtual clock.

A real queue decides which jobs start; their run times pass on a virtual clock, so a run of hours takes seconds. The
bound is the larger of two: all memory is in use until the last job ends, or the longest job. It may be out of reach,
because jobs cannot be cut. The peer is the largest fixed number of slots that is safe for every mixture: two.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, PoolSettings
from agentpool_core.queue.completions import Room, Succeeded
from agentpool_core.queue.settings import Route
from bench.report import Figure, Report, quick
from bench.stage import POOL, stage

if TYPE_CHECKING:
    from agentpool_core.jobs import Lease
    from bench.stage import Stage

NAME = "packing"
ROUNDS, JOBS, WORKERS = 5, 400, 4
GIB = 1024  # MiB
MEMORY_MIB = 80 * GIB
SIZES_GIB = (4, 6, 8, 12, 16, 20, 24, 32, 40)
SLOTS = MEMORY_MIB // (min(SIZES_GIB) * GIB)  # never what binds
SAFE_SLOTS = MEMORY_MIB // (max(SIZES_GIB) * GIB)
SHORTEST_S, LONGEST_S = 20.0, 120.0
LEASE_MS = 86_400_000  # no worker renews
ROUTES = tuple(Route(name=f"g{size}", kinds=(f"g{size}",), gpu_memory_mib=size * GIB) for size in SIZES_GIB)
PACKED = PoolSettings(routes=ROUTES, concurrency=SLOTS, gpu_memory_mib=MEMORY_MIB, lease_ms=LEASE_MS)
FIXED = PoolSettings(concurrency=SAFE_SLOTS, lease_ms=LEASE_MS)
LEAST = {"memory in use / all memory": 0.85, "bound / makespan": 1 / 1.15, "workers without too much / workers": 1.0}


@dataclass(slots=True)
class Worker:
    """A worker of 80 GiB and its running jobs."""

    consumer: Consumer
    slots: int
    memory_mib: int = MEMORY_MIB
    sizes: dict[str, int] = field(default_factory=dict)  # MiB, by job
    most_mib: int = 0  # in use at once

    @property
    def room(self) -> Room:
        """What is free."""
        used = sum(self.sizes.values())
        return Room(
            slots=self.slots - len(self.sizes),
            all_slots=self.slots,
            memory_mib=self.memory_mib - used,
            all_memory_mib=self.memory_mib,
        )

    def begin(self, lease: Lease) -> None:
        """Note a started job."""
        self.sizes[lease.job_id] = lease.payload["mib"]
        self.most_mib = max(self.most_mib, sum(self.sizes.values()))


async def run() -> Report:
    """Both settings on the same jobs, in every round."""
    runs: dict[str, list[float]] = defaultdict(list)
    for number in range(1 if quick() else ROUNDS):
        jobs = _drawn(random.Random(number))  # repeatable
        area = sum(job["mib"] * job["seconds"] for job in jobs)
        bound = max(area / (MEMORY_MIB * WORKERS), *(job["seconds"] for job in jobs))
        makespan, safe = await _makespan(PACKED, jobs)
        fixed, _ = await _makespan(FIXED, jobs)
        for name, value in {"packed": makespan, "bound": bound, "two slots": fixed}.items():
            runs[name].append(value)
        runs["memory in use"].append(area / (MEMORY_MIB * WORKERS * makespan))
        runs["safe workers"].append(safe / WORKERS)
    units = {"memory in use": "share", "safe workers": "share"}
    figures = {name: Figure(unit=units.get(name, "s"), runs=tuple(values)) for name, values in runs.items()}
    return Report(
        name=NAME,
        figures=figures,
        ratios={
            "memory in use / all memory": min(runs["memory in use"]),
            "bound / makespan": min(b / m for b, m in zip(runs["bound"], runs["packed"], strict=True)),
            "workers without too much / workers": min(runs["safe workers"]),
            "makespan with two slots / packed": figures["two slots"].median / figures["packed"].median,
        },
        required=LEAST,
        notes=(
            "the three required ratios are the worst of all rounds",
            f"{JOBS} jobs, submitted together; {WORKERS} workers; run times of {SHORTEST_S:g} to {LONGEST_S:g} s",
        ),
    )


def _drawn(rng: random.Random) -> list[dict[str, float]]:
    return [
        {"mib": rng.choice(SIZES_GIB) * GIB, "seconds": rng.uniform(SHORTEST_S, LONGEST_S)} for _ in range(JOBS)
    ]  # fmt: skip


async def _makespan(settings: PoolSettings, jobs: list[dict[str, float]]) -> tuple[float, int]:
    """Return the virtual seconds until all jobs have ended, and the workers that never exceeded their memory."""
    async with stage(settings) as given:
        await given.inspector.configure(POOL, settings)
        workers = [await _registered(given, number, settings.concurrency) for number in range(WORKERS)]
        kinds = [f"g{job['mib'] // GIB:.0f}" for job in jobs]
        await given.producer.submit_many(
            [JobRequest(kind=kind, payload=job) for kind, job in zip(kinds, jobs, strict=True)]
        )
        makespan = await _drain(workers)
    return makespan, sum(worker.most_mib <= MEMORY_MIB for worker in workers)


async def _registered(given: Stage, number: int, slots: int) -> Worker:
    consumer = Consumer(given.redis, POOL, WorkerId(f"w{number}"))
    await consumer.register(slots=slots, host="bench")
    return Worker(consumer, slots)


async def _drain(workers: list[Worker]) -> float:
    """Run all jobs; return the virtual time of the last end."""
    ends: list[tuple[float, int, str, int]] = []  # time, worker, job, token
    now = 0.0

    def begin(number: int, leases: list[Lease]) -> None:
        for lease in leases:
            workers[number].begin(lease)
            heapq.heappush(ends, (now + lease.payload["seconds"], number, lease.job_id, lease.token))

    for number, worker in enumerate(workers):
        begin(number, await worker.consumer.claim(worker.room))
    while ends:
        now, number, job_id, token = heapq.heappop(ends)
        del workers[number].sizes[job_id]
        done = Succeeded(job_id=job_id, token=token)
        _, leases = await workers[number].consumer.exchange([done], workers[number].room)
        begin(number, leases)
    return now
