"""Starting and checking a real Redis-compatible server."""

import socket

import pytest

from agentpool_core.errors import QueueUnreachableError, SettingError
from agentpool_core.queue.connection.client import connect
from agentpool_local.stack.redis_server import check_redis, start_redis


def unheard(_name, _line):
    pass


async def test_a_server_starts_on_a_free_port_and_stops(tmp_path):
    """It answers at its URL while it runs, keeps its files in its directory, and is gone afterwards."""
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
    """The flag, the port and the remedy are told."""
    refused = pytest.raises(SettingError, match=r"--redis-port: .*: the port is in use; choose a different port")
    with socket.create_server(("127.0.0.1", 0)) as taken, refused:
        await start_redis(tmp_path, unheard, port=taken.getsockname()[1])


@pytest.mark.parametrize("url", ["http://localhost:6379", "localhost"])
async def test_what_is_no_redis_url_is_refused(url):
    """The URL is told as it was given, with how to write it."""
    with pytest.raises(SettingError, match="write redis://"):
        await check_redis(url)


async def test_a_password_is_not_told():
    """An unreachable server's URL is shown without its password."""
    with pytest.raises(QueueUnreachableError) as raised:
        await check_redis("redis://:secret@127.0.0.1:1/0")
    assert "secret" not in str(raised.value)
