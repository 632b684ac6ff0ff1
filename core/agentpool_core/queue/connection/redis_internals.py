"""The private parts of redis-py: the only module that names them.

redis-py connects (TLS, login, database) and keeps the stream of a connection to itself. A wire takes the transport,
because each call through the stream and the parser costs more than the network; and replies to a login are limited in
size before the parser makes room for them. No public name leads to transport, reader or parser. So `pyproject.toml`
excludes the next major version of redis-py, and a test names a part that is gone. Used by `wire` and `pools`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

PARTS = ("_reader", "_writer", "_parser")  # of a connection


def transport_of(connection: Any) -> asyncio.Transport:
    """Return the transport of a connection that is connected."""
    transport: asyncio.Transport = connection._writer.transport  # noqa: SLF001  # see above
    return transport


def reader_of(connection: Any) -> asyncio.StreamReader:
    """Return the reader of a connection that is connected."""
    reader: asyncio.StreamReader = connection._reader  # noqa: SLF001  # see above
    return reader


def socket_of(connection: Any) -> socket.socket | None:
    """Return the open socket of a connection; None without one."""
    writer = connection._writer  # noqa: SLF001  # see above
    found: socket.socket | None = None if writer is None else writer.get_extra_info("socket")
    return found if found is not None and found.fileno() >= 0 else None


def error_maker_of(connection: Any) -> Callable[[str], Exception]:
    """Return the function that makes an exception of the text of an error reply."""
    parse_error: Callable[[str], Exception] = connection._parser.parse_error  # noqa: SLF001  # see above
    return parse_error
