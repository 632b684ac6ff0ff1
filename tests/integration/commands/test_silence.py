"""The commands with an unreachable Redis: a single line, soon, and exit code 1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner, Result

from agentpool_core.cli import connection, waiting
from agentpool_core.cli.root import root
from agentpool_core.client import Client
from agentpool_core.errors import QueueUnreachableError
from agentpool_core.jobs import PoolRef, WorkerId
from agentpool_core.queue import Inspector, PoolSettings, connect
from tests.fixtures.hostile import hostile_redis
from tests.fixtures.redis import RedisServer, wait_until
from tests.fixtures.serving import ServingConsumer

COMMANDS = [
    "get", "get abc", "wait abc", "submit greet", "submit greet --wait", "cancel abc", "queue", "top --once",
    "dead list", "dead replay abc", "events", "logs abc", "pause", "resume",
]  # fmt: skip


async def agentpool(*args: str) -> Result:
    """Run a command in a separate thread."""
    runner = CliRunner(env={"AGENTPOOL_POOL": "test/nobody", "KUBECONFIG": "/-"})
    return await asyncio.to_thread(runner.invoke, root, args, standalone_mode=False)


@pytest.fixture
async def silent_url() -> AsyncIterator[str]:
    """A server that accepts connections and never answers."""
    async with hostile_redis(None) as url:
        yield url


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_reports_a_silent_redis(command: str, silent_url: str, monkeypatch: pytest.MonkeyPatch):
    """Every command gives up on a silent server earlier than a worker would."""
    monkeypatch.setattr(connection, "REACH_SECONDS", 0.2)
    result = await agentpool(*command.split(), "--redis", silent_url)
    assert isinstance(result.exception, QueueUnreachableError)
    remedy = "check that Redis runs and that the URL is correct"
    assert str(result.exception) == f"Redis did not answer within 0.2 s; {remedy}"
    assert result.exception.exit_code == 1
    assert not result.output


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
async def test_an_absent_redis_is_a_single_line(scheme: str):
    """The line is the same for any kind of server in the URL, without internals of the client."""
    result = await agentpool("wait", "abc", "--redis", f"{scheme}://127.0.0.1:1/0")
    assert isinstance(result.exception, QueueUnreachableError)
    assert "check that Redis runs and that the URL is correct" in str(result.exception)
    assert "<redis" not in str(result.exception)


async def test_the_doctor_reports_an_unreachable_redis_once(silent_url: str, monkeypatch: pytest.MonkeyPatch):
    """The result has a single finding for Redis; the pool behind that Redis is not examined."""
    monkeypatch.setattr(connection, "REACH_SECONDS", 0.2)
    result = await agentpool("doctor", "--redis", silent_url, "-o", "name")
    assert result.output.split() == ["redis", "kubernetes"]
    assert result.return_value == 1


@pytest.fixture
async def own(redis_server_factory) -> tuple[RedisServer, PoolRef]:
    """A server of this test that keeps written data, with a pool."""
    server = redis_server_factory("--appendonly", "yes", "--appendfsync", "always")
    pool = PoolRef("test", "own")
    redis = connect(server.url)
    await Inspector(redis).configure(pool, PoolSettings())
    await redis.aclose()
    return server, pool


async def _waiting(server: RedisServer, pool: PoolRef) -> tuple[asyncio.Task[Result], str]:
    """`agentpool wait` for a job, after the start of the wait."""
    async with Client(server.url, pool=pool) as client:
        job = (await client.submit("greet", 1)).job_id
    task = asyncio.create_task(agentpool("wait", job, "--redis", server.url, "--pool", str(pool)))
    redis = connect(server.url)
    try:
        await wait_until(lambda: redis.hget(f"ap:{{{pool}}}:job:{job}", "watch"), "the wait has begun")
    finally:
        await redis.aclose()
    return task, job


async def test_the_loss_of_redis_ends_the_wait(own, monkeypatch: pytest.MonkeyPatch):
    """The outage is shown at once; after some time without Redis, the wait ends."""
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.3)
    server, pool = own
    task, _ = await _waiting(server, pool)
    server.kill()
    result = await task
    assert isinstance(result.exception, QueueUnreachableError)
    assert result.stderr.count("waiting at most 0.3 s for Redis to answer") == 1


async def test_a_restart_of_redis_does_not_end_the_wait(own, monkeypatch: pytest.MonkeyPatch):
    """The job ends after the restart, and the result is printed."""
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.05)
    server, pool = own
    task, _ = await _waiting(server, pool)
    server.kill()
    server.start()
    redis = connect(server.url)
    worker = ServingConsumer(redis, pool, WorkerId("w1"))
    await worker.register(slots=1, host="here")
    await worker.serve_one()
    result = await task
    await redis.aclose()
    assert (result.return_value, result.stdout) == (0, '{\n  "echo": 1\n}\n'), result.stderr
