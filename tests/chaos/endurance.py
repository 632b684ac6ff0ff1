"""Memory, open files and keys of a long chaos run: they stay flat, or the growth is a finding.

Faults end processes, so a sample counts once its process is `GROWN_SECONDS` old: caches and allocators are full then.
The medians of the first and the last quarter of the run are compared, for each role and for the keys of the pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import redis.exceptions

from tests.chaos.ground import connected

if TYPE_CHECKING:
    from tests.chaos.ground import Ground

EVERY_SECONDS = 10.0  # between two samples
GROWN_SECONDS = 240.0  # of a process; with the faults of `make endurance`, processes live for half an hour
GROWTH_MAX = 1.1  # last quarter over first; files and keys may also differ by a few
FEW = 10  # files or keys


@dataclass(frozen=True, slots=True)
class Sample:
    """A quantity of a role at a moment."""

    at_s: float
    role: str
    quantity: str
    value: float


class Endurance:
    """Sampling of all processes of a ground, and of its keys."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Sample until the end of the block."""
        sampling = asyncio.create_task(self._run())
        try:
            yield
        finally:
            sampling.cancel()
            await asyncio.wait([sampling])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            at = time.monotonic() - self._began
            for role, process in self._processes():
                with contextlib.suppress(psutil.Error):
                    if time.time() - process.create_time() >= GROWN_SECONDS:
                        self._add(at, role, "MiB", process.memory_info().rss / 2**20)
                        self._add(at, role, "files", process.num_fds())
            with contextlib.suppress(redis.exceptions.RedisError, OSError, asyncio.TimeoutError):
                async with connected(self._ground.redis) as server:  # no connection that a restart leaves behind
                    self._add(at, "redis", "keys", await server.dbsize())

    def _add(self, at: float, role: str, quantity: str, value: float) -> None:
        self.samples.append(Sample(at, role, quantity, value))

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        ground = self._ground
        roles = {
            "API server": [ground.api],
            "node": ground.nodes,
            "operator": ground.operators,
            "gateway": [ground.gateway],
        }
        for role, machines in roles.items():
            yield from ((role, machine.process) for machine in machines if machine.running())
        for supervisor in ground.workers():
            with contextlib.suppress(psutil.Error):
                yield from (("worker", child) for child in supervisor.children())
        for server in (ground.redis, ground.replica):
            if server.pid:
                with contextlib.suppress(psutil.Error):
                    yield "redis", psutil.Process(server.pid)


def quarters(samples: Sequence[Sample]) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the medians of the first and the last quarter of the run, by role and quantity."""
    last = max((sample.at_s for sample in samples), default=0.0)
    first_end, last_begin = GROWN_SECONDS + (last - GROWN_SECONDS) / 4, last - (last - GROWN_SECONDS) / 4
    early, late = defaultdict(list), defaultdict(list)
    for sample in samples:
        if sample.at_s <= first_end:
            early[sample.role, sample.quantity].append(sample.value)
        if sample.at_s >= last_begin:
            late[sample.role, sample.quantity].append(sample.value)
    return {key: (statistics.median(early[key]), statistics.median(late[key])) for key in sorted(early) if key in late}


def growths(samples: Sequence[Sample]) -> list[str]:
    """Return a sentence for each quantity that has grown."""
    return [
        f"{role}: {before:.1f} {quantity} in the first quarter, {after:.1f} in the last"
        for (role, quantity), (before, after) in quarters(samples).items()
        if after > before * GROWTH_MAX and (quantity == "MiB" or after - before > FEW)
    ]


def table(samples: Sequence[Sample]) -> str:
    """Return the quarters as rows of a Markdown table."""
    rows = [
        f"| {role} | {before:.1f} {quantity} | {after:.1f} {quantity} | {after / before if before else 1:.2f} |"
        for (role, quantity), (before, after) in quarters(samples).items()
    ]
    return "\n".join(["| process | first quarter | last quarter | ratio |", "|---|---|---|---|", *rows])


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draw a picture, a plot for each quantity and a line for each role."""
    from matplotlib.figure import Figure

    quantities = sorted({sample.quantity for sample in samples})
    canvas = Figure(figsize=(9, 3 * len(quantities)), layout="constrained")
    plots = canvas.subplots(len(quantities), sharex=True, squeeze=False)[:, 0]
    for plot, quantity in zip(plots, quantities, strict=True):
        for role in sorted({sample.role for sample in samples if sample.quantity == quantity}):
            mine = [sample for sample in samples if (sample.role, sample.quantity) == (role, quantity)]
            plot.plot([s.at_s / 60 for s in mine], [s.value for s in mine], ".", markersize=3, label=role)
        plot.set_ylabel(quantity)
        plot.set_ylim(bottom=0)
        plot.legend(loc="upper left", fontsize="small")
    plots[-1].set_xlabel("minutes")
    canvas.savefig(path)
