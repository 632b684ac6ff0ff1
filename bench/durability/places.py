"""The settings of Redis under test, and the faults that each can meet.

A place has a constant `url`. A fault kills the server of the pool and returns the time of the monotonic clock; a single
server is up again then, while Sentinel and the cluster promote the replica in their time.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from agentpool_core.errors import QueueError
from agentpool_local.stack.redis_server import free_port
from bench.durability.power import CompilerMissingError, Disk
from bench.durability.servers import POLL_SECONDS, Server
from bench.report import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

WITHIN_SECONDS = 60.0
DOWN_AFTER_MS = 500  # of Sentinel and of the cluster
SNAPSHOT_AGE_SECONDS = 3.0
LAG_SECONDS = 0.5  # of a replica that has lost its primary
DEAD_PORT = 1
SLOTS = 16_384


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until it holds. Raises CannotRunError."""
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await holds():  # noqa: ASYNC110  # nothing here could be awaited
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise CannotRunError(f"not within {WITHIN_SECONDS:g} s: {what}") from None


class Single:
    """One server. `options` choose its persistence."""

    def __init__(self, directory: Path, *options: str) -> None:
        try:
            self._disk = Disk(directory)
        except CompilerMissingError as error:
            raise CannotRunError(str(error)) from error
        self._data = directory / "data"
        self._kept = directory / "kept"
        self._server = Server(self._data, *options, environment=self._disk.environment)
        self.url = self._server.url

    async def start(self) -> None:
        """Start the server."""
        await self._server.start()

    async def kill_process(self) -> float:
        """Kill the server, and start it again."""
        struck = self._server.kill()
        await self._server.start()
        return struck

    async def lose_power(self) -> float:
        """Kill the server, drop its unsynced writes, and start it again."""
        struck = self._server.kill()
        self._disk.lose_power(self._data)
        await self._server.start()
        return struck

    async def restore_snapshot(self) -> float:
        """Copy the files, and go back to the copy some time later."""
        shutil.copytree(self._data, self._kept)
        await asyncio.sleep(SNAPSHOT_AGE_SECONDS)
        struck = self._server.kill()
        shutil.rmtree(self._data)
        self._kept.rename(self._data)
        await self._server.start()
        return struck

    def close(self) -> None:
        """End the server."""
        self._server.kill()


class Sentinel:
    """A primary and a replica behind a Sentinel. `options` are those of both."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._primary = Server(directory / "primary", *options)
        follow = ("--replicaof", f"127.0.0.1 {self._primary.port}", "--repl-diskless-sync-delay", "0")
        self._replica = Server(directory / "replica", *options, *follow)
        config = directory / "sentinel.conf"
        config.write_text(
            f"sentinel monitor queue 127.0.0.1 {self._primary.port} 1\n"
            f"sentinel down-after-milliseconds queue {DOWN_AFTER_MS}\nsentinel failover-timeout queue 5000\n",
            encoding="ascii",
        )
        self._sentinel = Server(directory / "sentinel", "--sentinel", config=config)
        self.url = f"redis+sentinel://127.0.0.1:{self._sentinel.port}/queue"

    async def start(self) -> None:
        """Start all; return once the replica follows, and the Sentinel knows it."""
        for server in (self._primary, self._replica):
            await server.start()
        await until(self._follows, "the replica follows")
        await self._sentinel.start()
        await until(self._knows, "the Sentinel knows the replica")

    async def _follows(self) -> bool:
        return "master_link_status:up" in str(await self._replica.ask("INFO", "replication"))

    async def _knows(self) -> bool:
        return len(await self._sentinel.ask("SENTINEL", "REPLICAS", "queue")) == 1

    async def kill_process(self) -> float:
        """Kill the primary; the Sentinel promotes the replica."""
        return self._primary.kill()

    async def fail_over_late(self) -> float:
        """Separate the replica from its primary, and kill the primary some time later."""
        await self._replica.ask("REPLICAOF", "127.0.0.1", DEAD_PORT)
        await asyncio.sleep(LAG_SECONDS)
        return self._primary.kill()

    def close(self) -> None:
        """End all processes."""
        for server in (self._sentinel, self._replica, self._primary):
            server.kill()


class Cluster:
    """Three primaries, and a replica of the first, which has all slots of pools. `options` are those of all."""

    def __init__(self, directory: Path, *options: str) -> None:
        mode = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(2 * DOWN_AFTER_MS))
        more = ("--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0")
        self._buses = [free_port() for _ in range(4)]
        self._nodes = [
            Server(directory / f"node{number}", *options, *mode, *more, "--cluster-port", str(bus))
            for number, bus in enumerate(self._buses)
        ]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self._nodes[1:])

    async def start(self) -> None:
        """Start all nodes, share the slots, and wait until the replica follows."""
        for node in self._nodes:
            await node.start()
        first, second, third, replica = self._nodes
        for node, slots in ((first, (0, SLOTS - 3)), (second, (SLOTS - 2, SLOTS - 2)), (third, (SLOTS - 1, SLOTS - 1))):
            await node.ask("CLUSTER", "ADDSLOTSRANGE", *slots)
        for number, (node, bus) in enumerate(zip(self._nodes, self._buses, strict=True)):
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            await first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        await until(self._complete, "the nodes know each other")
        await replica.ask("CLUSTER", "REPLICATE", await first.ask("CLUSTER", "MYID"))
        await until(self._follows, "the replica follows")

    async def _complete(self) -> bool:
        states = [str(await node.ask("CLUSTER", "INFO")) for node in self._nodes]
        return all("cluster_state:ok" in state and "cluster_known_nodes:4" in state for state in states)

    async def _follows(self) -> bool:
        try:
            return "master_link_status:up" in str(await self._nodes[-1].ask("INFO", "replication"))
        except QueueError:
            return False

    async def kill_process(self) -> float:
        """Kill the primary with the pool; the cluster elects the replica."""
        return self._nodes[0].kill()

    def close(self) -> None:
        """End all nodes."""
        for node in self._nodes:
            node.kill()
