"""Start and check of a real Redis-compatible server."""

import socket

import pytest

from agentpool_core.errors import QueueUnreachableError, SettingError
from agentpool_core.queue.connection.client import connect
from agentpool_local.stack.redis_server import check_redis, start_redis


def unheard(_name, _line):
    pass


async def test_a_server_starts_on_a_free_port_and_stops(tmp_path):
    """The server answers at the URL, keeps all files in the directory, and ends at the stop."""
    server = await start_redis(tmp_path, unheard, append_only=True)
    try:
        await check_redis(server.url)
        redis = connect(server.url)
        await redis.set("key", "value")
        await redis.aclose()
        assert (tmp_path / "appendonlydir").is_dir()
    finally:
        await server.child.stop(seconds=5)
    with pytest.raises(QueueUnreachableError, match="--redis: no Redis answers at redis://127"):
        await check_redis(server.url)


async def test_a_port_in_use_is_refused_by_name(tmp_path):
    """The error has the flag, the port and the remedy."""
    refused = pytest.raises(SettingError, match=r"--redis-port: .*: the port is in use; choose a different port")
    with socket.create_server(("127.0.0.1", 0)) as taken, refused:
        await start_redis(tmp_path, unheard, port=taken.getsockname()[1])


@pytest.mark.parametrize("url", ["http://localhost:6379", "localhost"])
async def test_an_invalid_redis_url_is_refused(url):
    """The error has the given URL, and the valid form."""
    with pytest.raises(SettingError, match="write redis://"):
        await check_redis(url)


async def test_a_password_is_not_shown():
    """An unreachable server's URL is shown without the password."""
    with pytest.raises(QueueUnreachableError) as raised:
        await check_redis("redis://:secret@127.0.0.1:1/0")
    assert "secret" not in str(raised.value)
