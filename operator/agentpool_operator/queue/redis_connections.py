"""Connections to the Redis servers of pools: one for each URL, shared by its pools.

A connection has the queue's Inspector and a listener on the pressure channel, which reconnects with backoff as long as
the connection lives. Connections without pools are closed. `reader` reads through them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_core.errors import QueueError
from agentpool_core.process.cancellation import end
from agentpool_core.queue.inspector import Inspector
from agentpool_core.redis_address import connect_to
from agentpool_core.text import frames_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.redis_address import Address

CONNECT_TIMEOUT_SECONDS = 2.0  # a pool of a silent server becomes unknown soon, and reports that
LARGEST_REPLY_BYTES = 4 * 2**20  # of pools that are read together; 10,000 workers of one pool take less than half
RECONNECT_MIN_SECONDS = 0.2  # before the first attempt to listen again
RECONNECT_MAX_SECONDS = 10.0  # between later attempts
log = logging.getLogger(__name__)


@dataclass(slots=True)
class RedisConnection:
    """A Redis server."""

    address: Address
    redis: RedisClient
    inspector: Inspector
    listener: asyncio.Task[None]
    namespaces: set[str]  # of the served pools with this Redis; grows

    @property
    def url(self) -> str:
        """Return the URL, with credentials."""
        return self.address.url

    @property
    def place(self) -> str:
        """Name of the server in the log, after the pool that opened the connection."""
        return self.address.place

    def words(self, error: QueueError) -> str:
        """Return an error in the form for messages: nothing from a server with a secret address."""
        return str(self.address.without_secret(error))


class RedisConnections:
    """All connections."""

    def __init__(self, on_pressure: Callable[[PoolRef, str], None]) -> None:
        self._on_pressure = on_pressure
        self._connections: dict[tuple[str, bool], RedisConnection] = {}  # by URL, and whether the URL is secret

    def __len__(self) -> int:
        return len(self._connections)

    def open(self, address: Address, *, namespace: str | None = None) -> RedisConnection:
        """Return the connection to an address, for a pool of a namespace. Raises SettingError for an unusable URL."""
        key = (address.url, bool(address.secret))
        connection = self._connections.get(key)
        if connection is None:
            namespaces: set[str] = set()
            client = connect_to(
                address, socket_connect_timeout=CONNECT_TIMEOUT_SECONDS, largest_reply_bytes=LARGEST_REPLY_BYTES
            )
            inspector = Inspector(client)
            listener = asyncio.create_task(self._listen(address.url, inspector, namespaces), name="pressure-listener")
            connection = RedisConnection(
                address=address, redis=client, inspector=inspector, listener=listener, namespaces=namespaces
            )
            self._connections[key] = connection
        if namespace is not None:
            connection.namespaces.add(namespace)
        return connection

    def all(self) -> list[RedisConnection]:
        """Return all open connections."""
        return list(self._connections.values())

    async def keep_only(self, urls: set[str]) -> None:
        """Close connections that no pool uses."""
        for key in [key for key in self._connections if key[0] not in urls]:
            await self._close(self._connections.pop(key))

    async def close(self) -> None:
        """Close all connections."""
        await self.keep_only(set())

    async def _close(self, connection: RedisConnection) -> None:
        await end(connection.listener)
        await connection.redis.aclose()

    async def _listen(self, url: str, inspector: Inspector, namespaces: set[str]) -> None:
        """Pass on every pressure signal. Signals missed while disconnected are covered by the next poll."""
        pause = RECONNECT_MIN_SECONDS
        while True:
            try:
                async for pool in inspector.pressure(namespaces):
                    pause = RECONNECT_MIN_SECONDS
                    self._on_pressure(pool, url)
                    await asyncio.sleep(0)  # a server that sends without end must not starve other tasks
            except QueueError as error:
                log.debug("the operator does not receive the pressure channel: %s", type(error).__name__)
            except Exception as error:  # noqa: BLE001 - a server may answer anything; the polls go on
                log.debug("the pressure channel cannot be read:\n%s", frames_of(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECONNECT_MAX_SECONDS)
