"""Connection pools that wait for a free connection, belong to an event loop and process, and follow a failover.

redis-py's pools raise when all connections are in use, keep those of a closed event loop or of a parent process, and
keep those to a demoted server. Mechanism: a short call takes one of `CALLS_AT_ONCE` turns; without a free connection
the call waits; in a new loop or process a pool forgets its connections; `drop` ends a generation. `client` makes
the pools and asks through them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any

from redis.asyncio import ConnectionPool, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ClusterError, InvalidResponse, MaxConnectionsError, RedisError, ResponseError
from redis.exceptions import ConnectionError as LostConnectionError

from agentpool_core.queue.connection.loop_ownership import Owner, Use
from agentpool_core.queue.connection.redis_internals import reader_of, socket_of
from agentpool_core.queue.connection.reply_limits import MAX_REPLY_BYTES, Frames
from agentpool_core.queue.connection.wire import Wire

KEPT_CONNECTIONS = 8  # of a pool, at hand as wires
CALLS_AT_ONCE = 64  # short calls on their way; more wait, which is faster than to connect for each
FREE_WITHIN_SECONDS = 20.0  # longest wait for a turn or a connection
BLOCKING = frozenset({"BLPOP", "XREAD"})  # commands that keep a connection for long
_left_behind: list[Any] = []  # of a parent process; closing them in a forked child would disturb the parent


class QueuePool(ConnectionPool):
    """A pool that keeps some connections at hand between calls, as wires.

    Taking a connection out and back costs more than writing a command. The pool counts its connections itself: wires
    are in use, and are closed with the rest. redis-py's own count, which serves its statistics and its notices of a
    server's maintenance, stays at zero. A connection whose reply exceeds `largest_reply_bytes` is closed.
    """

    def __init__(
        self,
        connection_class: type[AbstractConnection] = Connection,
        *,
        largest_reply_bytes: int = MAX_REPLY_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(connection_class=_guarded(connection_class, largest_reply_bytes), **options)
        self._largest_reply_bytes = largest_reply_bytes
        self.wires_made = 0
        self._generation = 0
        self._owner = Owner()
        self._begin()

    def _begin(self) -> None:
        self._kept: list[Wire] = []
        self._free: list[AbstractConnection] = []
        self._in_use: set[AbstractConnection] = set()
        self._turns = asyncio.Semaphore(min(CALLS_AT_ONCE, self.max_connections))
        self._waiting: deque[asyncio.Future[None]] = deque()  # for a connection

    def _own(self) -> None:
        """Forget the connections of a previous loop or process."""
        use = self._owner.check()
        if use is Use.SAME:
            return
        former = [*self._free, *self._in_use]
        if use is Use.FORKED:
            _left_behind.extend(former)
        else:
            for connection in former:
                _hang_up(connection)
        typed: Any = self  # redis-py's pool ships without types
        typed.reset()  # a Sentinel's pool forgets the primary
        self._begin()

    async def take(self, *, blocking: bool = False) -> Wire:
        """Return a wire that is ready for a call; a blocking call takes no turn, which it would keep for long."""
        self._own()
        if not blocking:
            if self._turns.locked():
                await self._await_turn()
            else:
                await self._turns.acquire()
        try:
            while self._kept:
                wire = self._kept.pop()
                if await wire.is_alive():
                    return wire
                await self._close(wire)
            self.wires_made += 1
            return Wire(await self.get_connection(), generation=self._generation, most_bytes=self._largest_reply_bytes)
        except BaseException:
            if not blocking:
                self._turns.release()
            raise

    async def put_back(self, wire: Wire, *, blocking: bool = False) -> None:
        """Return a wire to the pool after its replies have been read or the wire was closed."""
        try:
            at_hand = len(self._kept) < KEPT_CONNECTIONS or self._turns.locked()  # a caller waits for it
            if wire.usable and at_hand and not self._waiting:
                self._kept.append(wire)
            else:
                await self._close(wire)
        finally:
            if not blocking:
                self._turns.release()

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        """Return a connection like redis-py's pool, but wait instead of raising. Raises MaxConnectionsError."""
        self._own()
        give_up_at = asyncio.get_running_loop().time() + FREE_WITHIN_SECONDS
        while not self._free and len(self._in_use) >= self.max_connections:
            await self._room(give_up_at)
        typed: Any = self  # redis-py's pool ships without types
        connection: AbstractConnection = self._free.pop() if self._free else typed.make_connection()
        self._in_use.add(connection)
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect, as redis-py does; close the connection after a failed login."""
        try:
            await super().ensure_connection(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back, and wake the next waiting caller."""
        self._in_use.remove(connection)
        self._free.append(connection)
        self._wake()

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002  # redis-py's signature
        """Close the connections; do not wait for slow closes."""
        self._own()
        connections = [*self._free, *self._in_use] if inuse_connections else list(self._free)
        ends = await asyncio.gather(*(connection.disconnect() for connection in connections), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, RedisError | OSError):
                raise end

    async def drop(self, generation: int) -> None:
        """Close all connections of that generation: the server behind them has changed its role."""
        if generation != self._generation:  # already done
            return
        self._generation += 1
        await self.disconnect()

    def sockets(self) -> list[socket.socket]:
        """Return the open sockets of the connections, in use or not."""
        connections = (*self._free, *self._in_use)
        return [found for connection in connections if (found := socket_of(connection)) is not None]

    async def _await_turn(self) -> None:
        try:
            async with asyncio.timeout(FREE_WITHIN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise self._all_busy() from None

    async def _room(self, give_up_at: float) -> None:
        """Return once a connection may be free."""
        if self._kept:
            await self._close(self._kept.pop())
            return
        freed = asyncio.get_running_loop().create_future()
        self._waiting.append(freed)
        try:
            async with asyncio.timeout_at(give_up_at):
                await freed
        except TimeoutError:
            raise self._all_busy() from None
        finally:
            if freed in self._waiting:
                self._waiting.remove(freed)
            elif freed.cancelled():  # it had been woken, so wake the next
                self._wake()

    def _wake(self) -> None:
        while self._waiting:
            freed = self._waiting.popleft()
            if not freed.done():
                freed.set_result(None)
                return

    def _all_busy(self) -> MaxConnectionsError:
        return MaxConnectionsError(
            f"all {self.max_connections} connections of this client were busy for {FREE_WITHIN_SECONDS:g} s"
        )

    async def _close(self, wire: Wire) -> None:
        """Close a wire; the pool reconnects it for ordinary use."""
        await wire.connection.disconnect(nowait=True)
        await self.release(wire.connection)


class SentinelPool(SentinelConnectionPool, QueuePool):
    """The same, to the primary that Sentinels name."""


class QueueCluster(RedisCluster):
    """Client of a cluster; its calls wait for a turn, in a single event loop and process at a time."""

    def __init__(self, *, max_connections: int, largest_reply_bytes: int = MAX_REPLY_BYTES, **options: Any) -> None:
        self._options = options | {"max_connections": max_connections}
        self._largest_reply_bytes = largest_reply_bytes
        self._owner = Owner()
        self._begin()

    def _begin(self) -> None:
        super().__init__(**self._options)
        settings: dict[str, Any] = self.get_connection_kwargs()
        guarded: Any = _guarded(settings["connection_class"], self._largest_reply_bytes)
        settings["connection_class"] = guarded
        for node in self.nodes_manager.startup_nodes.values():
            node.connection_class = guarded
        most = self._options["max_connections"]  # to each node
        self._turns = asyncio.Semaphore(min(CALLS_AT_ONCE, max(1, most // 2)))
        self._blocking_turns = asyncio.Semaphore(max(1, most - CALLS_AT_ONCE, most // 2))

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command in its turn, as redis-py does. Raises MaxConnectionsError after a long wait."""
        self._own()
        turns = self._blocking_turns if args[0] in BLOCKING else self._turns
        await _await_turn_of(turns)
        try:
            return await super().execute_command(*args, **options)
        except AttributeError as error:  # redis-py looks up a node that it does not know yet
            await super().aclose()  # the next call reads the topology
            raise ClusterError(f"redirected to an unknown node ({error})") from None
        finally:
            turns.release()

    async def ask_at(self, key: str, packed: bytes, *, replies: int) -> list[Any]:
        """Send packed commands on a single connection to the key's server; an exception stands for an error reply.

        A redirection is such an error: it is not followed.
        """
        self._own()
        turns = self._turns
        await _await_turn_of(turns)
        try:
            await self.initialize()
            node: Any = self.get_node_from_key(key)  # raises instead of returning None for a primary
            connection = node.acquire_connection()
            try:
                return await ask_through(connection, packed, replies=replies)
            finally:
                node.release(connection)
        finally:
            turns.release()

    async def aclose(self) -> None:
        """Close the connections."""
        self._own()
        await super().aclose()

    def _own(self) -> None:
        use = self._owner.check()
        if use is Use.SAME:
            return
        if use is Use.FORKED:
            _left_behind.append(self.nodes_manager)
        self._begin()


async def ask_through(connection: AbstractConnection, packed: bytes, *, replies: int) -> list[Any]:
    """Send packed commands on a connection of redis-py, and return the replies. A failed call closes the connection."""
    settings: Any = connection  # redis-py reads the limit with each reply
    limit_s, settings.socket_timeout = settings.socket_timeout, None  # a common limit for all of it
    found: list[Any] = []
    try:
        async with asyncio.timeout(limit_s):
            await connection.send_packed_command(packed)
            for _ in range(replies):
                try:
                    found.append(await connection.read_response())
                except ResponseError as error:
                    found.append(error)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        settings.socket_timeout = limit_s
    return found


async def _await_turn_of(turns: asyncio.Semaphore) -> None:
    try:
        async with asyncio.timeout(FREE_WITHIN_SECONDS):
            await turns.acquire()
    except TimeoutError:
        raise MaxConnectionsError(f"the calls of this client have been busy for {FREE_WITHIN_SECONDS:g} s") from None


def _hang_up(connection: AbstractConnection) -> None:
    """End a connection of a finished event loop; its socket is closed when Python collects it."""
    if (found := socket_of(connection)) is not None:
        with contextlib.suppress(OSError):
            found.shutdown(socket.SHUT_RDWR)


def _guard(reader: asyncio.StreamReader, frames: Frames) -> None:
    """Let the reader fail where a list is announced that would take all memory, or a reply has no end."""
    feed = reader.feed_data

    def guarded(data: bytes) -> None:
        try:
            frames.check(data)
        except InvalidResponse as error:
            reader.set_exception(error)
            return
        feed(data)

    reader.feed_data = guarded  # type: ignore[assignment]  # asyncio's protocol calls it by its name


def _guarded(kind: type[AbstractConnection], largest_reply_bytes: int) -> type[AbstractConnection]:
    """Return that class of connection, raising a connection error for a lost connection on every event loop.

    asyncio's own loop lets the write pass and the read fail; uvloop raises a RuntimeError, which does not look like an
    outage. Data read during the login and by the client's own calls passes `reply_limits`.
    """

    class Guarded(kind):  # type: ignore[misc, valid-type] # whatever the URL's scheme asks for
        async def on_connect_check_health(self, *args: Any, **options: Any) -> None:
            _guard(reader_of(self), Frames(largest_reply_bytes, each=True))
            await super().on_connect_check_health(*args, **options)

        async def send_packed_command(self, *args: Any, **options: Any) -> None:
            try:
                await super().send_packed_command(*args, **options)
            except RuntimeError as error:
                raise LostConnectionError(f"Connection lost before it was written to: {error}") from error

    return Guarded
