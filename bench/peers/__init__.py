"""What a user would pick instead: other Redis queues for Python, each driven through one small interface.

`PEERS` names the modules here; each has a class `Peer` made with a server's URL and the jobs to run. The packages come
with the `bench` extra. Who takes over next: `bench.peers.measure` runs one of them in a process of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Protocol

from bench.report import CannotRunError

PEERS = {  # module: the packages that it needs
    "taskiq": ("taskiq", "taskiq-redis"),
    "streaq": ("streaq",),
    "arq": ("arq",),
    "saq": ("saq",),
    "dramatiq": ("dramatiq",),
}
SHORT_S, LONG_S, LONG_EACH = 0.01, 1.0, 10  # of the mixed measure, as for agentpool and the raw loop


class Jobs:
    """The handlers of all peers, and what they have seen."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.done = 0
        self.delays_ms: list[float] = []

    def ended(self, sent_ns: int | None = None) -> None:
        """A job ended; `sent_ns`: when it was about to be submitted, by the machine's monotonic clock."""
        if sent_ns is not None:
            self.delays_ms.append((time.monotonic_ns() - sent_ns) / 1e6)
        self.done += 1

    async def noop(self) -> None:
        """Does nothing."""
        self.ended()

    async def sleep(self, number: int) -> None:
        """Sleeps 10 ms, each tenth 1 s."""
        await asyncio.sleep(LONG_S if number % LONG_EACH == 0 else SHORT_S)
        self.ended()

    def sleep_blocking(self, number: int) -> None:
        """The same in a thread."""
        time.sleep(LONG_S if number % LONG_EACH == 0 else SHORT_S)
        self.ended()


class Peer(Protocol):
    """One queue. Kinds of job: noop, sleep, stamp."""

    async def open(self) -> None:
        """Connects."""

    async def submit(self, kind: str, number: int) -> None:
        """One job, as its documentation says."""

    async def submit_many(self, kind: str, numbers: Sequence[int]) -> None:
        """Many jobs, in the quickest way that its documentation shows."""

    async def work(self, slots: int) -> None:
        """Works until it is cancelled."""


def versions() -> dict[str, str]:
    """The peers' versions. Raises CannotRunError naming what is absent."""
    found, absent = {}, []
    for package in (package for packages in PEERS.values() for package in packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            absent.append(package)
    if absent:
        raise CannotRunError(f"absent: {', '.join(absent)}; install the bench extra: pip install 'agentpool[bench]'")
    return found


async def in_turns(calls: Sequence[Any], at_once: int = 100) -> None:
    """Awaits what the callables give, so many at once: for peers without a bulk call of their own."""
    for first in range(0, len(calls), at_once):
        await asyncio.gather(*(call() for call in calls[first : first + at_once]))
