"""The private parts of redis-py that a wire needs exist in the installed version."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
import redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import NoScriptError

from agentpool_core.queue.connection.redis_internals import PARTS, error_maker_of, reader_of, socket_of, transport_of
from tests.fixtures.hostile import hostile_redis


@pytest.mark.parametrize("kind", [Connection, SSLConnection, UnixDomainSocketConnection])
@pytest.mark.parametrize("part", PARTS)
def test_a_connection_has_the_private_parts(kind, part):
    """A release of redis-py may rename them: then `connection/redis_internals.py` has to follow."""
    connection = kind()
    assert hasattr(connection, part), (
        f"redis-py {redis.__version__} has no {kind.__name__}.{part} any more: adapt connection/redis_internals.py"
    )
    assert issubclass(kind, redis.asyncio.connection.AbstractConnection)
    assert callable(kind.on_connect_check_health), "the guard of `pools` overrides it"


async def test_the_parts_have_the_types_that_a_wire_needs():
    """A stream's transport, reader and socket while it is connected; and exceptions for error replies."""
    async with hostile_redis(b"+OK\r\n") as url:
        connection = Connection(port=urlsplit(url).port, protocol=2)
        assert socket_of(connection) is None
        await connection.connect()
        assert isinstance(transport_of(connection), asyncio.Transport)
        assert isinstance(reader_of(connection), asyncio.StreamReader)
        assert transport_of(connection).get_extra_info("socket").fileno() == socket_of(connection).fileno()
        assert isinstance(error_maker_of(connection)("NOSCRIPT No matching script"), NoScriptError)
        await connection.disconnect()
        assert socket_of(connection) is None
