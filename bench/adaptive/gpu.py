"""Adaptive slots on a real GPU, beside fixed numbers: `python -m bench.adaptive.gpu [--json FILE]`, under 4 minutes.

Needs torch with CUDA, no Redis and no cluster: the worker's own `AdaptiveSlots` decides about jobs that never run out.
A job joins a continuous batcher, as LLM decoding does: every step reads all weights once, for however many sequences. A
second part has jobs that each hold some gigabytes, to see that memory suffices. The last lines are a table in Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agentpool_core.queue.settings import AdaptiveMode, PoolSettings
from agentpool_worker.slots.adaptive import PERIOD_SECONDS, AdaptiveSlots
from agentpool_worker.slots.gpu import GpuReading, open_reader
from agentpool_worker.slots.recorder import Work
from agentpool_worker.slots.semaphore import Slots
from bench.report import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agentpool_worker.slots.gpu import GpuReader
    from agentpool_worker.slots.observation import Change

LAYERS, WIDTH = 16, 8192  # 2 GiB of weights in bf16
STEPS = 200  # of a job
FIXED = (1, 8, 32, 128)
FIXED_SECONDS = 15.0
MOST = 128  # slots
ADAPTIVE_SECONDS, CONVERGED_SECONDS = 90.0, 60.0
MEMORY_SECONDS, HELD_GIB, HELD_SECONDS = 40.0, 7, 2.5
GIB = 2**30


class Engine(Protocol):
    """The GPU."""

    def step(self, sequences: int) -> None:
        """Run one step of all sequences; returns when the GPU is done."""

    def hold(self, gib: int) -> object:
        """Return memory that is held until the object goes. Raises MemoryError."""

    def memory(self) -> tuple[int, int]:
        """Return used and total bytes."""


class Torch:
    """The GPU by torch."""

    def __init__(self) -> None:
        try:
            import torch  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise CannotRunError("torch is not installed") from error
        if not torch.cuda.is_available():
            raise CannotRunError("torch sees no GPU")
        self._torch: Any = torch
        self.name: str = torch.cuda.get_device_name()
        options = {"device": "cuda", "dtype": torch.bfloat16}
        self._layers = [torch.randn(WIDTH, WIDTH, **options) / WIDTH**0.5 for _ in range(LAYERS)]
        self._state = torch.randn(MOST, WIDTH, **options)

    def step(self, sequences: int) -> None:
        """Multiply the sequences' states by all layers."""
        state = self._state[:sequences]
        for layer in self._layers:
            state = state @ layer
        self._torch.cuda.synchronize()

    def hold(self, gib: int) -> object:
        """Allocate memory outside torch's cache of earlier allocations."""
        self._torch.cuda.empty_cache()
        try:
            return self._torch.empty(gib * GIB, device="cuda", dtype=self._torch.uint8)
        except self._torch.cuda.OutOfMemoryError as error:
            raise MemoryError from error

    def memory(self) -> tuple[int, int]:
        """Return used and total bytes, as the driver counts them."""
        free, total = self._torch.cuda.mem_get_info()
        return total - free, total


class EngineReader:
    """Readings of memory alone, where NVML's Python package is missing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> Sequence[GpuReading]:
        """Return the GPU's memory; its utilisation is not known."""
        used, total = self._engine.memory()
        return [GpuReading(index=0, utilisation=None, memory_used_bytes=used, memory_total_bytes=total)]

    def close(self) -> None:
        """Release nothing."""


@dataclass(eq=False)
class Job:
    """A sequence in the batcher."""

    done: asyncio.Future[None]
    reports: int = 0  # steps so far


class Batcher:
    """Steps all active sequences together, in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._active: list[Job] = []
        self._changed = threading.Condition()
        self._ends = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self, job: Job) -> None:
        """Add a sequence to the next step."""
        with self._changed:
            self._active.append(job)
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._active or self._ends)
                if self._ends:
                    return
                jobs = list(self._active)
            self._engine.step(len(jobs))
            for job in jobs:
                job.reports += 1
            ended = [job for job in jobs if job.reports >= STEPS]
            with self._changed:
                self._active = [job for job in self._active if job not in ended]
            self._loop.call_soon_threadsafe(_resolve, ended)


def _resolve(jobs: list[Job]) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_result(None)


@dataclass
class Result:
    """A measured run."""

    name: str
    jobs: list[tuple[float, float]] = field(default_factory=list)  # time of the end, run time
    changes: list[tuple[float, Change]] = field(default_factory=list)
    slots: int = 0  # at the end
    out_of_memory: int = 0
    peak: float = 0.0  # share of the memory

    def row(self, begin: float, end: float) -> str:
        """Return a line of the table, for the ends between two times."""
        times = sorted(seconds for at, seconds in self.jobs if begin <= at < end)
        p95 = f"{times[int(0.95 * len(times))]:.2f}" if times else "-"
        rate = len(times) / (end - begin)
        return f"| {self.name} | {self.slots} | {rate:.1f} | {p95} | {self.peak:.0%} | {self.out_of_memory} |"


async def drive(
    name: str,
    engine: Engine,
    run_job: Callable[[Job], Awaitable[None]],
    *,
    seconds: float,
    fixed: int | None = None,
    reader: GpuReader | None = None,
) -> Result:
    """Keep all slots in use for a while, with a fixed or an adaptive number of slots."""
    mode = AdaptiveMode.OFF if fixed else AdaptiveMode.GPU
    settings = PoolSettings(concurrency=fixed or 1, adaptive_mode=mode, adaptive_max=MOST)
    slots, result, began = Slots(settings.concurrency), Result(name), time.monotonic()
    adaptive = AdaptiveSlots(
        slots=slots,
        settings=lambda: settings,
        reader=reader,
        changed=lambda change: result.changes.append((time.monotonic() - began, change)),
    )

    async def run_one() -> None:
        job = Job(asyncio.get_running_loop().create_future())
        recorded, at = adaptive.recorder.begin("job", job), time.monotonic()
        work = Work.DONE
        try:
            await run_job(job)
        except MemoryError:
            result.out_of_memory += 1
            work = Work.UNKNOWN
        now = time.monotonic()
        adaptive.recorder.end(recorded, work)
        slots.release()
        if work is Work.DONE:
            result.jobs.append((now - began, now - at))

    tasks: set[asyncio.Task[None]] = set()
    next_decision = began + PERIOD_SECONDS
    while (now := time.monotonic()) < began + seconds:
        while slots.free:
            slots.take()
            task = asyncio.create_task(run_one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if now >= next_decision:
            used, total = engine.memory()
            result.peak = max(result.peak, used / total)
            adaptive.read()
            adaptive.run_once()
            next_decision += PERIOD_SECONDS
        await asyncio.sleep(0.002)
    result.slots = slots.total
    await asyncio.gather(*tasks)
    return result


async def measure(engine: Engine) -> list[str]:
    """Run all parts; return the lines of the table."""
    reader = open_reader() or EngineReader(engine)
    batcher = Batcher(engine)

    async def decode(job: Job) -> None:
        batcher.join(job)
        await job.done

    async def hold(_job: Job) -> None:
        held = engine.hold(HELD_GIB)
        await asyncio.sleep(HELD_SECONDS)
        del held

    lines = ["| slots | at the end | jobs/s | p95, s | memory, peak | out of memory |", "|---|---|---|---|---|---|"]
    try:
        for count in FIXED:
            result = await drive(f"fixed {count}", engine, decode, seconds=FIXED_SECONDS, fixed=count)
            lines.append(result.row(FIXED_SECONDS / 3, FIXED_SECONDS))
        name = f"adaptive (GPU), from 1, after {CONVERGED_SECONDS:g} s"
        result = await drive(name, engine, decode, seconds=ADAPTIVE_SECONDS, reader=reader)
        lines.append(result.row(CONVERGED_SECONDS, ADAPTIVE_SECONDS))
    finally:
        batcher.close()
    _explain(result)
    name = f"adaptive (GPU), jobs that hold {HELD_GIB} GiB"
    result = await drive(name, engine, hold, seconds=MEMORY_SECONDS, reader=reader)
    _explain(result)
    return [*lines, result.row(MEMORY_SECONDS / 2, MEMORY_SECONDS)]


def _explain(result: Result) -> None:
    for at, change in result.changes:
        print(f"{at:6.1f} s  {change.slots:4} slots  {change.reason.value}: {change.detail}", flush=True)


def main() -> int:
    """Measure and print; return 3 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m bench.adaptive.gpu", description=__doc__)
    parser.add_argument("--json", dest="json_file", metavar="FILE", type=Path, help="write the lines there too")
    options = parser.parse_args()
    try:
        engine = Torch()
    except CannotRunError as error:
        print(f"adaptive on a GPU cannot run: {error}", file=sys.stderr)
        return 3
    lines = asyncio.run(measure(engine))
    print(engine.name, *lines, sep="\n")
    if options.json_file:
        options.json_file.write_text(json.dumps({"device": engine.name, "table": lines}) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
