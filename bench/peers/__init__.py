"""Alternatives for a user: other Redis queues for Python, each driven through a small interface.

`PEERS` names the modules here; each has a class `Peer` made with a server's URL and the jobs to run. The packages come
with the `bench` extra. `bench.peers.measure` runs a peer in a separate process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Protocol

from bench.report import CannotRunError

PEERS = {  # module: required packages
    "taskiq": ("taskiq", "taskiq-redis"),
    "streaq": ("streaq",),
    "arq": ("arq",),
    "saq": ("saq",),
    "dramatiq": ("dramatiq",),
}
SHORT_SECONDS, LONG_SECONDS, LONG_EACH = 0.01, 1.0, 10  # of the mixed measure, as for agentpool and the raw loop


class Jobs:
    """The handlers of all peers, and their observations."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.done = 0
        self.delays_ms: list[float] = []

    def ended(self, sent_ns: int | None = None) -> None:
        """Record the end of a job; `sent_ns`: time just before its submit, by the machine's monotonic clock."""
        if sent_ns is not None:
            self.delays_ms.append((time.monotonic_ns() - sent_ns) / 1e6)
        self.done += 1

    async def noop(self) -> None:
        """Do nothing."""
        self.ended()

    async def sleep(self, number: int) -> None:
        """Sleep 10 ms, each tenth 1 s."""
        await asyncio.sleep(LONG_SECONDS if number % LONG_EACH == 0 else SHORT_SECONDS)
        self.ended()

    def sleep_blocking(self, number: int) -> None:
        """The same in a thread."""
        time.sleep(LONG_SECONDS if number % LONG_EACH == 0 else SHORT_SECONDS)
        self.ended()


class Peer(Protocol):
    """A queue. Kinds of job: noop, sleep, stamp."""

    async def open(self) -> None:
        """Connect."""

    async def submit(self, kind: str, number: int) -> None:
        """Submit a job in the documented way."""

    async def submit_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Submit many jobs in the fastest documented way."""

    async def work(self, slots: int) -> None:
        """Work until cancelled."""


def versions() -> dict[str, str]:
    """Return the peers' versions. Raises CannotRunError naming absent packages."""
    found, absent = {}, []
    for package in (package for packages in PEERS.values() for package in packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            absent.append(package)
    if absent:
        raise CannotRunError(f"absent: {', '.join(absent)}; install them: pip install 'agentpool-core[bench]'")
    return found


async def in_turns(calls: Sequence[Any], at_once: int = 100) -> None:
    """Await the callables' results, `at_once` at a time: for peers without a bulk call."""
    for first in range(0, len(calls), at_once):
        await asyncio.gather(*(call() for call in calls[first : first + at_once]))
