"""Connections to Redis with the queue's settings, and calls over them.

`connect` creates a client from a URL, with text replies, time limits for blocking reads, and without redis-py's own
retries: a claim sent twice would lease twice, so the caller decides on repetition. `call` and `pipeline` raise
redis-py's errors, `ask` raises ours. `Producer`, `Consumer` and `Inspector` take the client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from agentpool_core.errors import QueueUnreachableError, SettingError, UnsupportedServerError
from agentpool_core.queue.connection.error_translation import Asking, Reading, is_demotion
from agentpool_core.queue.connection.pools import BLOCKING, QueueCluster, QueuePool, SentinelPool, ask_through
from agentpool_core.queue.connection.reply_limits import MAX_REPLY_BYTES
from agentpool_core.queue.connection.sentinels import Sentinels
from agentpool_core.queue.connection.url import RedisUrl, Topology
from agentpool_core.text import encodable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

RedisClient: TypeAlias = Any  # Redis or RedisCluster; both have execute_command, without suitable types

SOCKET_TIMEOUT_SECONDS = 30.0  # longest silence of a connection; redis-py's own 5 s would cut blocking reads short
CONNECT_TIMEOUT_SECONDS = 5.0
LONGEST_BLOCK_SECONDS = 20.0  # a blocking read's own limit: well below SOCKET_TIMEOUT_SECONDS
SHORTEST_BLOCK_SECONDS = 0.01  # Redis 6.2 cuts fractions of a ms off, and takes the 0 that is left for "for ever"
BLOCK_SHARE = 0.7  # of a foreign client's socket timeout that a blocking read may take
MAX_CONNECTIONS = 1_000  # of a client, to each server
NEEDED_VERSION = (6, 2)


def connect(url: str, *, largest_reply_bytes: int = MAX_REPLY_BYTES, **options: Any) -> RedisClient:
    """Return a client for `url`, which connects with its first command.

    `redis://[user:password@]host[:port][/db]`, `rediss://…` (TLS; `?ssl_ca_certs=FILE`), `unix:///path`,
    `redis+sentinel://[user:password@]host:port[,host:port]/service[/db]`,
    `redis+cluster://[user:password@]host:port[,host:port]`; `docs/redis.md` lists the options. `valkey` and `valkeys`
    are synonyms of `redis` and `rediss`. `options` are passed to the client unchanged, unless the URL has them. A
    connection whose replies to a call exceed `largest_reply_bytes` is closed. Raises SettingError for an invalid URL.
    """
    read = RedisUrl.parse(url)
    settings: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "backslashreplace",  # a record that is not UTF-8 must not fail a whole reply
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        **({} if read.topology is Topology.SOCKET else {"socket_keepalive": True}),
        "max_connections": MAX_CONNECTIONS,
        "largest_reply_bytes": largest_reply_bytes,
        **options,
        **read.settings,
    }
    try:
        return _client(read, settings)
    except (RedisError, TypeError, ValueError):
        raise SettingError(
            field="Redis URL",
            value=None,
            problem="its options do not go together",
            remedy="leave out those that the server does not need",
        ) from None  # the cause may show pieces of a password


def _client(read: RedisUrl, settings: dict[str, Any]) -> RedisClient:
    settings["retry"] = Retry(NoBackoff(), 0)  # of a cluster, redirections are no retries
    if read.topology is Topology.CLUSTER:
        nodes = [ClusterNode(host, port) for host, port in read.hosts]
        return QueueCluster(startup_nodes=nodes, ssl=read.tls, **settings)
    if read.topology is Topology.SENTINEL:
        return _sentinel(read, settings)
    if read.topology is Topology.SOCKET:
        pool = QueuePool(UnixDomainSocketConnection, path=read.path, **settings)
    else:
        ((host, port),) = read.hosts
        pool = QueuePool(SSLConnection if read.tls else Connection, host=host, port=port, **settings)
    return Redis.from_pool(pool)


def _sentinel(read: RedisUrl, settings: dict[str, Any]) -> RedisClient:
    sentinels = Sentinels(read, settings)
    pool: Any = SentinelPool  # ships without types
    client: Any = Redis.from_pool(pool(read.service, sentinels, ssl=read.tls, **settings))
    close_primary = client.aclose

    async def close_all() -> None:
        """Close the client and the separate connections of its sentinels."""
        await close_primary()
        for guard in sentinels.sentinels:
            await guard.aclose()

    client.aclose = close_all
    return client


def longest_block_s(redis: RedisClient) -> float:
    """Return the limit of a blocking read on this client in seconds: its socket timeout must exceed the limit."""
    if is_cluster(redis):
        timeout = redis.get_connection_kwargs().get("socket_timeout")
    else:
        timeout = redis.connection_pool.connection_kwargs.get("socket_timeout")
    return LONGEST_BLOCK_SECONDS if timeout is None else min(LONGEST_BLOCK_SECONDS, timeout * BLOCK_SHARE)


def connections_made(redis: RedisClient) -> int | None:
    """Return the number of connections made by `call` and `pipeline`; while constant, the server was not restarted.

    None if not counted: a cluster's client, a user's own client.
    """
    return getattr(getattr(redis, "connection_pool", None), "wires_made", None)


def is_cluster(redis: RedisClient) -> bool:
    """Return whether this is a cluster's client, which finds the connection by the key and has no pool.

    An isinstance check takes ten times as long, because redis-py has made the class a protocol.
    """
    return not hasattr(redis, "connection_pool")


async def repeat_once(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """Return the result of the attempt, repeated once on a new connection after a connection failure.

    For repeatable calls: reads, and idempotent writes. A server closes idle connections, and the next user notices only
    by losing a call.
    """
    try:
        return await attempt()
    except QueueUnreachableError as error:
        if not error.reconnect:
            raise
    return await attempt()


async def ask(redis: RedisClient, *command: Any, doing: str = "") -> Any:
    """Return the reply to a command that reads, or that may be sent twice.

    Raises QueueError, which names its purpose (`doing`), or the command.
    """

    async def attempt() -> Any:
        with Asking(doing or str(command[0]).lower()):
            return await call(redis, *command)

    return await repeat_once(attempt)


async def ask_many(redis: RedisClient, key: str, *commands: Sequence[Any], doing: str) -> list[Any]:
    """Do the same as `ask` for commands on keys of one slot, `key` among them, in a round trip."""

    async def attempt() -> list[Any]:
        with Asking(doing):
            replies = await pipeline_at(redis, key, *commands)
            for reply in replies:
                if isinstance(reply, BaseException):
                    raise reply
            return replies

    found: list[Any] = await repeat_once(attempt)
    return found


async def call(redis: RedisClient, *command: Any) -> Any:
    """Return a command's reply. A cluster's client sends the command itself, to the node of the key."""
    if is_cluster(redis):
        return await redis.execute_command(*command)
    (reply,) = await pipeline(redis, command)
    if isinstance(reply, BaseException):
        raise reply
    return reply


async def pipeline(redis: RedisClient, *commands: Sequence[Any]) -> list[Any]:
    """Send commands together on a connection and return their replies; an exception stands for an error reply.

    The client's own call does more (retries, statistics, a timer and a task for each step), which costs more than the
    rest of a submit. Raises redis-py's errors for a lost connection, and TimeoutError after the client's socket
    timeout. A cancelled call closes the connection. If the server reports its demotion, all connections are closed, so
    that the next call finds the new primary behind the same address.
    """
    packed = _pack(commands)
    pool = redis.connection_pool
    if not isinstance(pool, QueuePool):
        return await _through_stream(pool, packed, replies=len(commands))
    blocking = commands[0][0] in BLOCKING
    wire = await pool.take(blocking=blocking)
    try:
        found = await wire.ask(packed, replies=len(commands), within_s=wire.connection.socket_timeout)
    finally:
        await pool.put_back(wire, blocking=blocking)
    if blocking and found[0] is None:  # a server that does not block must not keep its caller busy
        await asyncio.sleep(max(0.0, wire.asked_at + SHORTEST_BLOCK_SECONDS - asyncio.get_running_loop().time()))
    for reply in found:
        if isinstance(reply, ResponseError) and is_demotion(reply):
            await pool.drop(wire.generation)
    return found


async def pipeline_at(redis: RedisClient, key: str, *commands: Sequence[Any]) -> list[Any]:
    """Do the same as `pipeline`, also in a cluster: on a connection to the server of the key."""
    if is_cluster(redis):
        found: list[Any] = await redis.ask_at(key, _pack(commands), replies=len(commands))
        return found
    return await pipeline(redis, *commands)


def _pack(commands: Sequence[Sequence[Any]]) -> bytes:
    try:
        return b"".join([pack_command(tuple(command)) for command in commands])
    except UnicodeEncodeError:  # a lone surrogate, from a file name that is not UTF-8, say
        return b"".join([pack_command(_encodable(command)) for command in commands])


def _encodable(command: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(encodable(part) if isinstance(part, str) else part for part in command)


async def _through_stream(pool: Any, packed: bytes, *, replies: int) -> list[Any]:
    """Do the same as a wire, for a user's own pool."""
    connection = await pool.get_connection()
    try:
        return await ask_through(connection, packed, replies=replies)
    finally:
        await pool.release(connection)


async def check_server(redis: RedisClient) -> str:
    """Return the server's version, if it is recent enough.

    Raises UnsupportedServerError below Redis 6.2, QueueUnreachableError, QueueAccessError or QueueReplyError if the
    version cannot be read.
    """

    async def attempt() -> Any:
        with Asking("connect"):
            return await redis.execute_command("INFO", "server")

    info = await repeat_once(attempt)
    with Reading("info"):
        if "redis_version" not in info:  # a cluster answers for each node
            info = next(node for node in info.values() if isinstance(node, dict))
        version = str(info["redis_version"])
        numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < NEEDED_VERSION:
        raise UnsupportedServerError(version=version, needed=".".join(map(str, NEEDED_VERSION)))
    return version
