"""Faults of Redis: each becomes a typed error with its remedy, and the queue writes nothing by halves."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.errors import (
    QueueAccessError,
    QueueError,
    QueueMemoryError,
    QueueReadOnlyError,
    QueueUnreachableError,
    SettingError,
    SubmitUnknownError,
    UnsupportedServerError,
)
from agentpool_core.jobs import Durability, JobRequest, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, check_server, connect, producer, scripts
from agentpool_core.queue.completions import SettleOutcome, Succeeded
from agentpool_core.queue.keys import pressure_of
from tests.fixtures.redis import wait_until

POOL = PoolRef("test", "faults")


async def test_a_server_that_is_not_there_is_unknown_not_empty(tmp_path, monkeypatch):
    """No server listens: submits and snapshots report Redis as unreachable; a job that was sent is unknown."""
    monkeypatch.setattr(producer, "BACKOFF_FIRST_SECONDS", 0.001)
    redis = connect(f"unix://{tmp_path}/nobody")
    with pytest.raises(QueueUnreachableError, match="did not answer"):
        await Producer(redis, POOL).submit(JobRequest(kind="x"))
    with pytest.raises(SubmitUnknownError, match=r"did not answer.*unknown.*same idempotency key"):
        await Producer(redis, POOL).submit(JobRequest(kind="x"), durability=Durability.LOCAL)
    found = await Inspector(redis).snapshots([POOL])
    assert isinstance(found[POOL], QueueUnreachableError)
    await redis.aclose()


async def test_a_wrong_password_is_an_access_error(redis_server_factory):
    """Access errors name the user, the password and the required ACL."""
    server = redis_server_factory("--requirepass", "right")
    for options in ({}, {"password": "wrong"}):
        redis = connect(server.url, **options)
        with pytest.raises(QueueAccessError, match="ACL"):
            await Producer(redis, POOL).submit(JobRequest(kind="x"))
        await redis.aclose()


async def test_an_acl_user_needs_no_more_than_its_own_keys(redis_server_factory):
    """A user with ~ap:* and the listed commands does everything; without the pressure channel submits still work."""
    server = redis_server_factory()
    admin = connect(server.url)
    await admin.acl_setuser(
        "pool", enabled=True, passwords=["+pw"], keys=["ap:*"], categories=["+@all", "-@dangerous"], commands=["+info"]
    )
    redis = connect(server.url, username="pool", password="pw")
    await Inspector(redis).configure(POOL, PoolSettings())
    await Producer(redis, POOL).submit(JobRequest(kind="x"))
    consumer = Consumer(redis, POOL, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    assert len(await consumer.claim(1)) == 1
    await redis.aclose()
    await admin.aclose()


async def test_a_replica_refuses_writes_and_is_named(redis_server_factory):
    """The error of a read-only replica differs from that of an outage, and the replica can still be read."""
    primary = redis_server_factory()
    replica = redis_server_factory("--replicaof", "127.0.0.1", str(primary.port))
    writer, reader = connect(primary.url), connect(replica.url)
    await Inspector(writer).configure(POOL, PoolSettings())
    await Producer(writer, POOL).submit(JobRequest(kind="x"))

    async def arrived():
        found = (await Inspector(reader).snapshots([POOL]))[POOL]
        return not isinstance(found, QueueError) and found.queued == 1

    await wait_until(arrived, "the replica shows the job", within_s=30)
    with pytest.raises(QueueReadOnlyError, match="primary"):
        await Producer(reader, POOL).submit(JobRequest(kind="x"))
    await writer.aclose()
    await reader.aclose()


async def test_full_memory_refuses_submits_and_lets_jobs_end(redis_server_factory):
    """At maxmemory a submit is refused as a whole, while running jobs are settled and release memory."""
    server = redis_server_factory()
    redis = connect(server.url)
    await Inspector(redis).configure(POOL, PoolSettings())
    await Producer(redis, POOL).submit(JobRequest(kind="x"))
    consumer = Consumer(redis, POOL, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    (lease,) = await consumer.claim(1)
    before = await redis.dbsize()
    await redis.config_set("maxmemory", "1")
    with pytest.raises(QueueMemoryError, match="maxmemory"):
        await Producer(redis, POOL).submit(JobRequest(kind="x"))
    assert await redis.dbsize() == before
    assert (await consumer.renew(slots=1, running=1)).still_registered
    outcome = await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    assert outcome == [SettleOutcome.APPLIED]
    await redis.aclose()


async def test_scripts_come_back_after_a_restart(redis_server_factory):
    """The client loads the scripts again into a server that has lost them, also inside the snapshots' pipeline."""
    server = redis_server_factory("--appendonly", "yes", "--appendfsync", "always")
    redis = connect(server.url)
    await Inspector(redis).configure(POOL, PoolSettings())
    receipt = await Producer(redis, POOL).submit(JobRequest(kind="x"))
    server.kill()
    server.start()
    await redis.connection_pool.disconnect()
    assert (await Inspector(redis).snapshot(POOL)).queued == 1
    consumer = Consumer(redis, POOL, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    await redis.script_flush()
    _, leases = await consumer.wait_and_claim(1_000, 1)
    assert [lease.job_id for lease in leases] == [receipt.job_id]
    await redis.script_flush()
    await asyncio.gather(*(script.run(redis, f"ap:{{{POOL}}}:conf") for script in (scripts.SNAPSHOT, scripts.MAINTAIN)))
    await redis.aclose()


async def test_the_lag_is_known_again_after_a_restart(redis_server_factory):
    """Redis 7.0 forgets the read position of a group; maintenance derives the lag from the counters."""
    server = redis_server_factory("--appendonly", "yes", "--appendfsync", "always")
    redis = connect(server.url)
    await Inspector(redis).configure(POOL, PoolSettings())
    await Producer(redis, POOL).submit_many([JobRequest(kind="x")] * 5)
    consumer = Consumer(redis, POOL, WorkerId("w"))
    await consumer.register(slots=5, host="h")
    held = await consumer.claim(1)
    for taken in (2, 3):
        held += await consumer.claim(1)
        server.restart()
        await redis.connection_pool.disconnect()
        await consumer.maintain()
        (group,) = await redis.xinfo_groups(f"ap:{{{POOL}}}:s:default:task")
        assert (group["pending"], group.get("lag", 5 - taken)) == (taken, 5 - taken)  # Redis 6.2 reports no lag
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token) for lease in held])
    (group,) = await redis.xinfo_groups(f"ap:{{{POOL}}}:s:default:task")
    assert (group["pending"], group.get("lag", 2)) == (0, 2)
    await redis.aclose()


async def test_maintenance_reads_every_stream_once_per_start_of_the_server(redis_server_factory):
    """A pool may have many routes and many workers, so the lag is set once after a restart, not in each round."""
    server = redis_server_factory("--appendonly", "yes", "--appendfsync", "always")
    redis = connect(server.url)
    await Inspector(redis).configure(POOL, PoolSettings())
    await Producer(redis, POOL).submit(JobRequest(kind="x"))
    consumer = Consumer(redis, POOL, WorkerId("w"))
    await consumer.register(slots=5, host="h")

    async def looks() -> int:
        commands = await redis.info("commandstats")
        return sum(of["calls"] for name, of in commands.items() if name.startswith("cmdstat_xinfo"))

    for _ in range(2):
        await consumer.maintain()
        looked = await looks()
        for _ in range(3):
            await consumer.maintain()
        assert 0 < looked == await looks()
        server.restart()
        await redis.connection_pool.disconnect()
    await redis.aclose()


async def test_versions_and_urls_are_checked(redis, monkeypatch):
    """An old server and an invalid URL are refused by name; no error shows a password."""
    assert await check_server(redis)

    async def old(*_):
        return {"redis_version": "5.0.14"}

    monkeypatch.setattr(redis, "execute_command", old)
    with pytest.raises(UnsupportedServerError, match=r"5\.0\.14 is too old; use Redis 6\.2"):
        await check_server(redis)
    with pytest.raises(SettingError) as caught:
        connect("http://user:secret@host")
    assert "secret" not in str(caught.value)


async def test_foreign_text_on_the_pressure_channel_is_ignored(redis, pool_ref):
    """Any client may publish on the channel; listeners report pools only, and continue."""
    signals = Inspector(redis).pressure([pool_ref.namespace])
    heard = asyncio.create_task(anext(signals))
    async with asyncio.timeout(10):
        while not heard.done():
            for text in ("", "Not A Pool", "{}", str(pool_ref)):
                await redis.publish(pressure_of(pool_ref.namespace), text)
            await asyncio.wait([heard], timeout=0.02)
    assert heard.result() == pool_ref
    await signals.aclose()
