"""Leaves before memory runs out: a handler that leaks costs a drain, not every job that runs beside it.

When a container reaches its memory limit, the kernel ends the worker at once, and each of its jobs loses an attempt.
So the worker looks at its memory, and when little is left it says so and drains: jobs end or are handed back with
their state, and the pod's container starts afresh. A leak that goes on meanwhile hurries it: jobs are handed back at
once. Where there is no limit nothing is watched.
Who takes over next: `agentpool_worker.drain`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between looks
LEAVE_ABOVE = 0.9  # share of the limit
HURRY_ABOVE = 0.97  # the same, for one that leaves already
_LOOKS = 3  # in a row above it: a peak passes
_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES = 2**60  # the first version of control groups writes a huge number for no limit


class MemoryReader(Protocol):
    """Where readings come from."""

    @property
    def limit_bytes(self) -> int:
        """What must not be reached."""

    def used_bytes(self) -> int:
        """What is in use now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerMemory:
    """A container's memory, its files' caches left out, as the kubelet counts it."""

    limit_bytes: int
    usage: Path
    statistics: Path
    cache: str  # the statistics' name of the cache that the kernel can drop

    def used_bytes(self) -> int:
        """Memory in use now."""
        droppable = 0
        for line in self.statistics.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == self.cache:
                droppable = int(value)
        return int(self.usage.read_text(encoding="ascii")) - droppable


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessMemory:
    """The worker's own memory, against a limit that its settings give."""

    limit_bytes: int

    def used_bytes(self) -> int:
        """Memory in use now: resident pages."""
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_memory(limit_bytes: int | None, *, root: Path = _CGROUP) -> MemoryReader | None:
    """The memory to watch, or None where there is no limit."""
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


class MemoryGuard:
    """Looks at the memory once a second; `leave` and `hurry` are called once each, in the side loop's thread."""

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

    async def run(self) -> None:
        """Looks until there is nothing more to do; runs in the side loop."""
        if self._memory is None:
            return
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.look(self._memory):
                return

    def look(self, memory: MemoryReader) -> bool:
        """One look; whether it was the last that matters."""
        try:
            used = memory.used_bytes()
        except (OSError, ValueError) as error:
            log.warning("memory could not be read: %s", error)
            return False
        told = f"{used >> 20} MiB of {memory.limit_bytes >> 20} MiB of memory are in use"
        if self._leaving:
            if used <= memory.limit_bytes * HURRY_ABOVE:
                return False
            log.error("%s: handing back jobs now; running: %s", told, self._running())
            self._hurry()
            return True
        self._above = self._above + 1 if used > memory.limit_bytes * LEAVE_ABOVE else 0
        if self._above >= _LOOKS:
            log.error("%s: leaving before the kernel ends every job here; running: %s", told, self._running())
            self._leaving = True
            self._leave()
        return False
