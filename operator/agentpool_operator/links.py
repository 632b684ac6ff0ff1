"""Connections to the Redis servers that pools name: one for each URL, shared by all pools on it.

A link carries the queue's Inspector and a listener on the pressure channel, which reconnects with backoff
for as long as the link lives. Links that no pool uses any more are closed. `pressure` reads through them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool.cancellation import end
from agentpool.errors import QueueError
from agentpool.queue.address import place_of
from agentpool.queue.connection import connect
from agentpool.queue.inspect import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool.jobs import PoolRef
    from agentpool.queue.connection import RedisClient

CONNECT_TIMEOUT_S = 2.0  # seconds: a pool of a silent server is unknown, and told so, soon
RECONNECT_MIN_S = 0.2  # seconds before the first attempt to listen again
RECONNECT_MAX_S = 10.0  # seconds between later attempts
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Link:
    """One Redis server."""

    url: str
    redis: RedisClient
    inspector: Inspector
    listener: asyncio.Task[None]

    @property
    def place(self) -> str:
        """Host and port for messages: never the credentials."""
        return place_of(self.url)


class Links:
    """All links."""

    def __init__(self, on_pressure: Callable[[PoolRef], None]) -> None:
        self._on_pressure = on_pressure
        self._links: dict[str, Link] = {}

    def __len__(self) -> int:
        return len(self._links)

    def open(self, url: str) -> Link:
        """The link to a URL. Raises SettingError when the URL cannot be understood."""
        link = self._links.get(url)
        if link is None:
            client = connect(url, socket_connect_timeout=CONNECT_TIMEOUT_S)
            inspector = Inspector(client)
            listener = asyncio.create_task(self._listen(inspector), name="pressure-listener")
            link = self._links[url] = Link(url=url, redis=client, inspector=inspector, listener=listener)
        return link

    def all(self) -> list[Link]:
        """Every open link."""
        return list(self._links.values())

    async def keep_only(self, urls: set[str]) -> None:
        """Closes links that no pool uses."""
        for url in set(self._links) - urls:
            await self._close(self._links.pop(url))

    async def close(self) -> None:
        """Closes all links."""
        await self.keep_only(set())

    async def _close(self, link: Link) -> None:
        await end(link.listener)
        await link.redis.aclose()

    async def _listen(self, inspector: Inspector) -> None:
        """Hands every sign of pressure on. What is missed while disconnected, the next poll sees."""
        pause = RECONNECT_MIN_S
        while True:
            try:
                async for pool in inspector.pressure():
                    pause = RECONNECT_MIN_S
                    self._on_pressure(pool)
            except QueueError as error:
                log.debug("the pressure channel is not heard: %s", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECONNECT_MAX_S)
