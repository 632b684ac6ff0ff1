"""The server process of a simulation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fixtures.redis import RedisServer
from tests.simulation.clock import ServerClock
from tests.simulation.server import Server

# The order of hash tables depends on a random number of the server and on the moments of its rehashing.
OPTIONS = {
    "enable-debug-command": "local",
    "hash-seed": "simulation",
    "activerehashing": "no",
    "latency-tracking": "no",
    "hz": 1,
    "hash-max-listpack-entries": 100_000,
    "hash-max-listpack-value": 1_000_000,
    "set-max-listpack-entries": 100_000,
    "set-max-listpack-value": 1_000_000,
}


@contextmanager
def simulated_server() -> Iterator[Server]:
    """Start a server on a clock of the simulation."""
    with tempfile.TemporaryDirectory(prefix="ap-sim-") as directory:
        clock = ServerClock(Path(directory))
        flat = [part for name, value in OPTIONS.items() for part in (f"--{name}", str(value))]
        process = RedisServer(*flat, environment=clock.environment)
        try:
            server = Server(process.start(), clock)
            yield server
            server.stop()
        finally:
            process.close()
            clock.close()
