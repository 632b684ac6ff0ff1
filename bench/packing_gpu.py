"""Jobs of different sizes on a real GPU: `python -m bench.packing_gpu [--json FILE]`, under 3 minutes.

Needs torch with CUDA, and a Redis server as the other benches. One worker claims from a real queue by the memory that
is free; each job holds the memory of its route on the GPU for its run time. Sizes are those of `bench.packing`, for the
memory of this GPU in place of 80 GiB. The GPU's own numbers give the memory in use.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agentpool_core.jobs import JobRequest, WorkerId
from agentpool_core.queue import Consumer, PoolSettings
from agentpool_core.queue.completions import Succeeded
from agentpool_core.queue.settings import Route
from bench.adaptive.gpu import Torch
from bench.packing import GIB, LEASE_MS, SIZES_GIB, Worker
from bench.report import CannotRunError
from bench.stage import POOL, stage

if TYPE_CHECKING:
    from agentpool_core.jobs import Lease

JOBS = 80
SHORTEST_S, LONGEST_S = 1.0, 6.0
KEPT_GIB = 4  # for the driver, torch and its weights
SAMPLE_S = 0.1
DESIGNED_GIB = 80


class Memory(Protocol):
    """The GPU's memory."""

    def hold(self, gib: int) -> object:
        """Return memory that is held until the object goes. Raises MemoryError."""

    def memory(self) -> tuple[int, int]:
        """Return used and total bytes."""


class Run:
    """A worker on the GPU."""

    def __init__(self, gpu: Memory, consumer: Consumer, memory_gib: int) -> None:
        self._gpu = gpu
        self._worker = Worker(consumer, slots=memory_gib, memory_mib=memory_gib * GIB)
        self._ended: asyncio.Queue[Lease] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self.out_of_memory = 0
        self.shares: list[float] = []  # of the memory in use, while jobs wait

    async def drain(self, jobs: int) -> float:
        """Run all jobs; return the seconds until the last has ended."""
        began = time.perf_counter()
        left, waiting = jobs, jobs
        leases = await self._worker.consumer.claim(self._worker.room)
        while left:
            for lease in leases:
                self._worker.begin(lease)
                task = asyncio.create_task(self._run(lease))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            waiting -= len(leases)
            lease = await self._next_end(sampling=waiting > 0)
            del self._worker.sizes[lease.job_id]
            done = Succeeded(job_id=lease.job_id, token=lease.token)
            _, leases = await self._worker.consumer.exchange([done], self._worker.room)
            left -= 1
        return time.perf_counter() - began

    async def _next_end(self, *, sampling: bool) -> Lease:
        while True:
            try:
                async with asyncio.timeout(SAMPLE_S):
                    return await self._ended.get()
            except TimeoutError:
                used, total = self._gpu.memory()
                if sampling:
                    self.shares.append(used / total)

    async def _run(self, lease: Lease) -> None:
        try:
            held = self._gpu.hold(lease.payload["mib"] // GIB)
            await asyncio.sleep(lease.payload["seconds"])
            del held
            self._gpu.hold(0)  # returns what was freed to the driver
        except MemoryError:
            self.out_of_memory += 1
        self._ended.put_nowait(lease)


async def measure(gpu: Memory) -> dict[str, float]:
    """Run one batch of jobs."""
    _, total = gpu.memory()
    usable_gib = total // 2**30 - KEPT_GIB
    sizes = sorted({max(1, size * usable_gib // DESIGNED_GIB) for size in SIZES_GIB})
    rng = random.Random(1)  # repeatable
    jobs = [{"mib": rng.choice(sizes) * GIB, "seconds": rng.uniform(SHORTEST_S, LONGEST_S)} for _ in range(JOBS)]
    bound = sum(job["mib"] * job["seconds"] for job in jobs) / (usable_gib * GIB)
    routes = tuple(Route(name=f"g{size}", kinds=(f"g{size}",), gpu_memory_mib=size * GIB) for size in sizes)
    settings = PoolSettings(
        routes=routes, concurrency=usable_gib, gpu_memory_mib=usable_gib * GIB, lease_ms=LEASE_MS
    )  # fmt: skip
    async with stage(settings) as given:
        await given.inspector.configure(POOL, settings)
        consumer = Consumer(given.redis, POOL, WorkerId("gpu"))
        await consumer.register(slots=usable_gib, host="bench")
        requests = [JobRequest(kind=f"g{job['mib'] // GIB:.0f}", payload=job) for job in jobs]
        await given.producer.submit_many(requests)
        run = Run(gpu, consumer, usable_gib)
        makespan = await run.drain(JOBS)
    return {
        "makespan_s": round(makespan, 1),
        "bound_s": round(bound, 1),
        "makespan / bound": round(makespan / bound, 3),
        "memory in use, mean while jobs wait": round(sum(run.shares) / max(1, len(run.shares)), 3),
        "out of memory": run.out_of_memory,
    }


def main() -> int:
    """Print the figures; exit with 3 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m bench.packing_gpu", description=__doc__)
    parser.add_argument("--json", dest="json_file", metavar="FILE", type=Path)
    options = parser.parse_args()
    try:
        found = asyncio.run(measure(Torch()))
    except CannotRunError as error:
        print(f"packing_gpu cannot run: {error}", file=sys.stderr)
        return 3
    print(json.dumps(found, indent=2))
    if options.json_file:
        options.json_file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
