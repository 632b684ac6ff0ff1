"""Leave before memory runs out: a leaking handler costs a drain, not every concurrent job.

At its memory limit the kernel ends the worker at once, and each of its jobs loses an attempt. So the worker watches its
memory, and drains when little is left: jobs end or are requeued with their state, and a new worker process starts in
place. A leak that continues meanwhile speeds up the drain: jobs are requeued at once. A requeued job has a loss, so a
job that repeatedly exhausts memory is found. Without a limit nothing is watched. `agentpool_worker.jobs.drain` takes
over next.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between looks
CLOSE_LOOK_SECONDS = 0.1  # between looks above CLOSE_ABOVE
CLOSE_ABOVE = 0.5  # share of the limit
LEAVE_ABOVE = 0.9  # the same
HURRY_ABOVE = 0.97  # the same, for a worker that is already leaving
SOON_ABOVE = 0.75  # the same, for growth to matter
SOON_SECONDS = 6.0  # memory that lasts no longer makes the worker leave at once
HURRY_SECONDS = 4.0  # memory that lasts no longer is just enough to requeue jobs
TREND_SECONDS = 1.0  # over which growth is measured
_FULL = 0.8  # share of the window that readings must span
_LOOKS = 3  # in a row above the threshold: a peak passes
_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES = 2**60  # the first version of control groups writes a huge number for no limit


class MemoryReader(Protocol):
    """Where readings come from."""

    @property
    def limit_bytes(self) -> int:
        """Return the limit."""

    def used_bytes(self) -> int:
        """Return the memory in use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerMemory:
    """A container's memory, without file caches, as the kubelet counts it."""

    limit_bytes: int
    usage: Path
    statistics: Path
    cache: str  # the statistics' name of the cache that the kernel can drop

    def used_bytes(self) -> int:
        """Return the memory in use now."""
        droppable = 0
        for line in self.statistics.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == self.cache:
                droppable = int(value)
        return int(self.usage.read_text(encoding="ascii")) - droppable


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessMemory:
    """Memory of the worker process, compared with a limit in the settings."""

    limit_bytes: int

    def used_bytes(self) -> int:
        """Return the memory in use now: resident pages."""
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_memory(limit_bytes: int | None, *, root: Path = _CGROUP) -> MemoryReader | None:
    """Return the memory to watch; None without a limit."""
    if limit_bytes is not None:
        return ProcessMemory(limit_bytes=limit_bytes)
    second = (root / "memory.max", root / "memory.current", root / "memory.stat", "inactive_file")
    first_root = root / "memory"
    first = (
        first_root / "memory.limit_in_bytes",
        first_root / "memory.usage_in_bytes",
        first_root / "memory.stat",
        "total_inactive_file",
    )
    for limit, usage, statistics, cache in (second, first):
        try:
            text = limit.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _UNLIMITED_BYTES:
            return ContainerMemory(limit_bytes=int(text), usage=usage, statistics=statistics, cache=cache)
    return None


class Trend:
    """Growth of the memory in use, over about the last second."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()  # seconds, bytes; oldest first

    def add(self, now: float, used: int) -> None:
        """Note a reading."""
        self._readings.append((now, used))
        while now - self._readings[0][0] > TREND_SECONDS:
            self._readings.popleft()

    def seconds_until(self, limit_bytes: int) -> float | None:
        """Return how long the memory lasts at the present growth; None without constant growth."""
        (began, first), (now, used) = self._readings[0], self._readings[-1]
        count = len(self._readings)
        third, two_thirds = self._readings[count // 3][1], self._readings[2 * count // 3][1]
        if now - began < TREND_SECONDS * _FULL or not first < third < two_thirds < used:
            return None
        return max(0, limit_bytes - used) * (now - began) / (used - first)


class MemoryGuard:
    """Checks the memory once a second, and more often near the limit; calls `leave` and `hurry` once each.

    Both are called in the side loop's thread; `words` then describes the memory in use.
    """

    def __init__(
        self,
        *,
        memory: MemoryReader | None,
        running: Callable[[], str],
        leave: Callable[[], None],
        hurry: Callable[[], None],
    ) -> None:
        self._memory = memory
        self._running = running
        self._leave = leave
        self._hurry = hurry
        self._above = 0
        self._leaving = False
        self._trend = Trend()
        self.words = ""

    async def run(self) -> None:
        """Check the memory until no further check is relevant; runs in the side loop."""
        if self._memory is None:
            return
        looked_at = time.monotonic()
        close = False
        while True:
            await asyncio.sleep(CLOSE_LOOK_SECONDS if close else LOOK_SECONDS)
            now = time.monotonic()
            close = self._used(self._memory) > self._memory.limit_bytes * CLOSE_ABOVE
            if close and self.glance(self._memory, now):
                return
            if now - looked_at >= LOOK_SECONDS:
                looked_at = now
                if self.look(self._memory):
                    return

    def glance(self, memory: MemoryReader, now: float) -> bool:
        """Act at once on memory that is about to run out; return whether this was the last relevant check.

        Small limits need that: at 10 MB/s, a tenth of 256 MiB lasts for less than three seconds.
        """
        used = self._used(memory)
        self._trend.add(now, used)
        left = self._trend.seconds_until(memory.limit_bytes)
        if left is None or used < memory.limit_bytes * SOON_ABOVE:
            return False
        if not self._leaving and left < SOON_SECONDS:
            self._begin(memory, used, f"the rest lasts for {left:.1f} s")
        if self._leaving and left < HURRY_SECONDS:
            return self._end(memory, used)
        return False

    def look(self, memory: MemoryReader) -> bool:
        """Check once; return whether this was the last relevant check."""
        used = self._used(memory)
        if self._leaving:
            return used > memory.limit_bytes * HURRY_ABOVE and self._end(memory, used)
        self._above = self._above + 1 if used > memory.limit_bytes * LEAVE_ABOVE else 0
        if self._above >= _LOOKS:
            self._begin(memory, used, "it does not fall")
        return False

    def _used(self, memory: MemoryReader) -> int:
        try:
            return memory.used_bytes()
        except (OSError, ValueError) as error:
            log.warning("memory could not be read: %s", error)
            return 0

    def _begin(self, memory: MemoryReader, used: int, why: str) -> None:
        self.words = _words(memory, used)
        running = self._running()
        log.error("%s, %s: draining before the kernel ends every job; running: %s", self.words, why, running)
        self._leaving = True
        self._leave()

    def _end(self, memory: MemoryReader, used: int) -> bool:
        self.words = _words(memory, used)
        log.error("%s: requeuing jobs now; running: %s", self.words, self._running())
        self._hurry()
        return True


def _words(memory: MemoryReader, used: int) -> str:
    return f"ran out of memory: {used >> 20} MiB of {memory.limit_bytes >> 20} MiB were in use"
