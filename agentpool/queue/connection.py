"""Connections to Redis, set up as the queue needs them.

`connect` reads the URL (single server, unix socket, TLS, Sentinel, Cluster), decodes replies to text, sets time limits
that fit blocking reads, and switches the library's own retries off: a claim that is sent twice would lease twice, so
who calls decides what may be repeated. Who takes over next: `Producer`, `Consumer` and `Inspector` take the client.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from hiredis import pack_command
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import RedisError, ResponseError

from agentpool.errors import SettingError, UnsupportedServerError
from agentpool.queue.address import SENTINEL_PORT, masked
from agentpool.queue.faults import fault_of
from agentpool.queue.wire import Wire
from agentpool.text import encodable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from urllib.parse import SplitResult

RedisClient: TypeAlias = Any  # Redis or RedisCluster; both answer execute_command, neither is typed as its callers need

SOCKET_TIMEOUT_S = 30.0  # longest silence of a connection; redis-py's own 5 s would cut blocking reads short
CONNECT_TIMEOUT_S = 5.0
LONGEST_BLOCK_S = 20.0  # a blocking read's own limit: well below SOCKET_TIMEOUT_S
BLOCK_SHARE = 0.7  # of a foreign client's socket timeout that a blocking read may take
MAX_CONNECTIONS = 1_000  # of one client; waiting for a free one is not supported by its pool
KEPT_CONNECTIONS = 8  # of a client, at hand for `together`
NEEDED_VERSION = (6, 2)
_VALKEY = re.compile(r"^valkey(?=s?(\+\w+)?://)")
_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_STRANGE = "its host, port, database or options cannot be read"


class _Pool(ConnectionPool):
    """A pool some of whose connections stay with `together` between calls, as wires.

    Taking one out and back costs more than to write a command. To the pool they are in use: it closes them with the
    others.
    """

    def __init__(self, connection_class: type[AbstractConnection] = Connection, **options: Any) -> None:
        super().__init__(connection_class=_telling(connection_class), **options)
        self._kept: list[Wire] = []
        self.wires_made = 0

    async def take(self) -> Wire:
        """A wire that is ready for a command."""
        while self._kept:
            wire = self._kept.pop()
            if wire.usable:
                return wire
            await self._close(wire)
        self.wires_made += 1
        pool: Any = self  # its method ships without types
        return Wire(await pool.get_connection())

    async def put_back(self, wire: Wire) -> None:
        """The replies have been read, or the wire is closed."""
        if wire.usable and len(self._kept) < KEPT_CONNECTIONS:
            self._kept.append(wire)
        else:
            await self._close(wire)

    async def _close(self, wire: Wire) -> None:
        """The pool connects it again when it is needed, and then it is no wire."""
        await wire.connection.disconnect(nowait=True)
        await self.release(wire.connection)


def _telling(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """That kind of connection, but one that was lost says so on every event loop when it is written to.

    asyncio's own loop lets the write pass and the read fail; uvloop raises a RuntimeError, which nobody takes for an
    outage.
    """

    class Telling(kind):  # type: ignore[misc, valid-type] # whatever the URL's scheme asks for
        async def send_packed_command(self, *args: Any, **options: Any) -> None:
            try:
                await super().send_packed_command(*args, **options)
            except RuntimeError as error:
                raise LostConnectionError(f"Connection lost before it was written to: {error}") from error

    return Telling


def connect(url: str, **options: Any) -> RedisClient:
    """A client for `url`; it connects with its first command.

    `redis://[user:password@]host[:port][/db]`, `rediss://…` (TLS; `?ssl_ca_certs=FILE`), `unix:///path`,
    `redis+sentinel://[user:password@]host:port[,host:port]/service[/db]`, `redis+cluster://[user:password@]host:port`.
    `valkey` and `valkeys` in place of `redis` and `rediss` mean the same.
    `options` go to the client as they are. Raises SettingError where the URL cannot be read.
    """
    url = _VALKEY.sub("redis", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _unreadable(url, _STRANGE) from None  # the cause would show pieces of a password
    if parts.scheme not in _SCHEMES:
        raise _unreadable(url, f"its scheme is none of {', '.join(_SCHEMES)}")
    settings = {
        "decode_responses": True,
        "encoding_errors": "backslashreplace",  # one record that is not UTF-8 must not fail a whole reply
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        **({} if parts.scheme == "unix" else {"socket_keepalive": True}),
        **options,
    }
    try:
        if parts.scheme.endswith("+sentinel"):
            return _sentinel(url, parts, settings)
        settings["retry"] = Retry(NoBackoff(), 0)
        if parts.scheme.endswith("+cluster"):
            settings.pop("retry")  # a cluster client counts redirections as retries
            return RedisCluster.from_url(url.replace("+cluster", "", 1), **settings)
        return Redis.from_pool(_Pool.from_url(url, max_connections=MAX_CONNECTIONS, **settings))
    except ValueError:
        raise _unreadable(url, _STRANGE) from None


def _unreadable(url: str, problem: str) -> SettingError:
    return SettingError(
        field="Redis URL",
        value=masked(url),
        problem=problem,
        remedy="write redis://host:6379/0, and %-encode what is special in a password",
    )


def _sentinel(url: str, parts: SplitResult, settings: dict[str, Any]) -> RedisClient:
    path = [part for part in parts.path.split("/") if part]
    if not path:
        raise _unreadable(url, "it names no service, as redis+sentinel://host:26379/SERVICE does")
    hosts = [_host_port(item) for item in parts.netloc.rpartition("@")[2].split(",")]
    if parts.username:
        settings["username"] = unquote(parts.username)
    if parts.password:
        settings["password"] = unquote(parts.password)
    if parts.scheme.startswith("rediss"):
        settings["ssl"] = True
    if len(path) > 1:
        settings["db"] = int(path[1])
    make: Any = Sentinel  # ships without types
    sentinel = make(hosts, sentinel_kwargs={"socket_timeout": CONNECT_TIMEOUT_S}, **settings)
    client: Any = sentinel.master_for(path[0], retry=Retry(NoBackoff(), 0))
    close_primary = client.aclose

    async def close_all() -> None:
        """The client does not know of its sentinels' own connections."""
        await close_primary()
        for guard in sentinel.sentinels:
            await guard.aclose()

    client.aclose = close_all
    return client


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host else (text, SENTINEL_PORT)


def longest_block_s(redis: RedisClient) -> float:
    """How long a blocking read on this client may last, seconds: its socket timeout must exceed it."""
    pool = getattr(redis, "connection_pool", None)
    timeout = pool.connection_kwargs.get("socket_timeout") if pool is not None else SOCKET_TIMEOUT_S
    return LONGEST_BLOCK_S if timeout is None else min(LONGEST_BLOCK_S, timeout * BLOCK_SHARE)


def connections_made(redis: RedisClient) -> int | None:
    """How often `call` and `together` have connected; while it stays the same, the server has not been restarted.

    None where nobody counts: Sentinel's pool, a cluster's, a user's own.
    """
    return getattr(getattr(redis, "connection_pool", None), "wires_made", None)


def is_cluster(redis: RedisClient) -> bool:
    """Whether it is a cluster's client, which finds the connection by the key and has no pool.

    To ask for its class takes ten times as long, for redis-py has made that a protocol.
    """
    return not hasattr(redis, "connection_pool")


async def call(redis: RedisClient, *command: Any) -> Any:
    """One command's reply; `together` for one. A cluster's client sends it itself, to the node that has the key."""
    if is_cluster(redis):
        return await redis.execute_command(*command)
    (reply,) = await together(redis, command)
    if isinstance(reply, BaseException):
        raise reply
    return reply


async def together(redis: RedisClient, *commands: Sequence[Any]) -> list[Any]:
    """The replies to commands that are sent at once on one connection; an error reply is an exception in its place.

    What the client's own call does beside this (retries, statistics, a timer and a task for each step) costs more than
    the rest of a submit. Raises what redis-py raises when the connection is lost, and TimeoutError after the client's
    socket timeout. If it is cancelled, the connection is closed.
    """
    try:
        packed = b"".join([pack_command(tuple(command)) for command in commands])
    except UnicodeEncodeError:  # a lone surrogate, from a file name that is not UTF-8, say
        packed = b"".join([pack_command(_encodable(command)) for command in commands])
    pool = redis.connection_pool
    if not isinstance(pool, _Pool):
        return await _through_stream(pool, packed, replies=len(commands))
    wire = await pool.take()
    try:
        return await wire.ask(packed, replies=len(commands), within_s=wire.connection.socket_timeout)
    finally:
        await pool.put_back(wire)


def _encodable(command: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(encodable(part) if isinstance(part, str) else part for part in command)


async def _through_stream(pool: Any, packed: bytes, *, replies: int) -> list[Any]:
    """As a wire does it, for a pool that is not ours: Sentinel's, or a user's own."""
    connection = await pool.get_connection()
    limit_s, connection.socket_timeout = connection.socket_timeout, None  # one limit for all of it
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
        connection.socket_timeout = limit_s
        await pool.release(connection)
    return found


async def check_server(redis: RedisClient) -> str:
    """The server's version, once it has answered and is new enough.

    Raises UnsupportedServerError below Redis 6.2, QueueUnreachableError or QueueAccessError where it cannot be asked.
    """
    try:
        info = await redis.execute_command("INFO", "server")
    except (RedisError, OSError) as error:
        raise fault_of(error, doing="connect") from error
    if not isinstance(info, dict) or "redis_version" not in info:  # a cluster answers for each node
        info = next((node for node in info.values() if isinstance(node, dict)), {}) if isinstance(info, dict) else {}
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < NEEDED_VERSION:
        raise UnsupportedServerError(version=version, needed=".".join(map(str, NEEDED_VERSION)))
    return version
