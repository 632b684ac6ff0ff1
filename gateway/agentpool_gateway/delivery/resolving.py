"""Look-ups of hosts for deliveries, with the check of the addresses.

The address of a host is checked when the connection is made, and the connection goes to exactly that address: a name
cannot point elsewhere after the check (DNS rebinding). Look-ups have threads of their own, so that a name server that
does not answer delays no other work of the gateway, and each pool has a few look-ups at once, so that the hosts of one
pool delay no other pool. `sending` makes the connections.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Executor
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from agentpool_gateway.delivery.destinations import Destinations, ForbiddenAddressError

THREADS = 16  # of all pools
LOOKUPS_OF_A_POOL = 2  # at once; a look-up counts until its thread is free, also after the caller has given up


class CheckedResolver(AbstractResolver):
    """A resolver for the hosts of a pool, which leaves out addresses that are not allowed."""

    def __init__(self, destinations: Destinations, *, secure: bool, threads: Executor) -> None:
        self._destinations = destinations
        self._secure = secure
        self._threads = threads
        self._free = asyncio.Semaphore(LOOKUPS_OF_A_POOL)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the allowed addresses. Raises ForbiddenAddressError if none is left, OSError for an unknown host."""
        found = await self._look_up(host, port, family)
        allowed = [each for each in found if self._destinations.allows(each["host"], secure=self._secure)]
        if not allowed:
            raise ForbiddenAddressError(f"{host} has no address to which the gateway may send")
        return allowed

    async def close(self) -> None:
        """Close nothing: the threads belong to the sender."""

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        await self._free.acquire()
        call = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        looking = asyncio.get_running_loop().run_in_executor(self._threads, call)
        looking.add_done_callback(lambda _: self._free.release())
        return [
            ResolveResult(
                hostname=host, host=address[0], port=address[1], family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, address in await asyncio.shield(looking)
            if isinstance(address[0], str) and "%" not in address[0]  # with a scope: of this link only
        ]
