"""Submits that return after the job is on the primary's disk, or on a replica."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from agentpool_core.client import Client
from agentpool_core.errors import (
    DurabilityUnavailableError,
    NotDurableError,
    QueueFullError,
    SettingError,
    UnknownJobError,
)
from agentpool_core.jobs import Durability, JobRequest, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect, durability
from agentpool_core.queue.keys import Keys
from bench.durability.places import Single

POOL = PoolRef("test", "durable")
JOB = JobRequest(kind="x", payload="p", idempotency_key="k")
AOF = ("--appendonly", "yes", "--appendfsync", "everysec")


@pytest.fixture
async def server(redis_server_factory, monkeypatch):
    """Start a server with options, and return a producer with a short time limit for the confirmation."""
    monkeypatch.setattr(durability, "LONGEST_WAIT_MS", 1_500)
    clients = []

    async def start(wanted, *options):
        running = redis_server_factory(*options)
        clients.append(client := connect(running.tcp_url))
        await Inspector(client).configure(POOL, PoolSettings())
        return running, client, Producer(client, POOL, durability=wanted)

    yield start
    for client in clients:
        await client.aclose()


def confirmation(client):
    """Return the second half of a submit."""
    return durability.Confirmation(client, Keys(POOL).conf, None)


async def test_a_job_is_on_the_disk_when_the_submit_returns(server):
    """The answer follows the log's fsync, for one job, for many jobs, and for a repeated submit."""
    _, client, producer = await server(Durability.FSYNC, *AOF)
    first = await producer.submit(JOB)
    assert (await producer.submit(JOB)).duplicate
    many = await producer.submit_many([JobRequest(kind="x")] * 700)
    assert len({receipt.job_id for receipt in many} | {first.job_id}) == 701
    info = await client.info("persistence")
    assert info["aof_enabled"] == 1


async def test_a_confirmed_job_survives_a_power_loss(tmp_path):
    """Every unsynced byte is gone: the confirmed job stays, and the later job of the memory is lost."""
    place = Single(tmp_path, *AOF)
    try:
        await place.start()
        async with connect(place.url) as client:
            await Inspector(client).configure(POOL, PoolSettings())
            producer = Producer(client, POOL)
            await producer.submit(JobRequest(kind="x", job_id="before"), durability=Durability.FSYNC)
            kept = await producer.submit(JobRequest(kind="x", job_id="kept"), durability=Durability.FSYNC)
            await client.execute_command("CONFIG", "SET", "appendfsync", "no")
            lost = await producer.submit(JobRequest(kind="x", job_id="lost"))
            await place.lose_power()
            assert (await Inspector(client).job(POOL, kept.job_id)).kind == "x"
            with pytest.raises(UnknownJobError):
                await Inspector(client).job(POOL, lost.job_id)
    finally:
        place.close()


async def test_a_power_loss_during_the_confirmation_is_noticed(tmp_path, monkeypatch):
    """The server is back before the client asks it again: a submit that returns has its job."""
    place = Single(tmp_path, *AOF)
    original = durability.Confirmation._until_synced

    async def after_a_power_loss(self):
        await place.lose_power()
        return await original(self)

    try:
        await place.start()
        async with connect(place.url) as client:
            await Inspector(client).configure(POOL, PoolSettings())
            producer = Producer(client, POOL)
            await producer.submit(JobRequest(kind="x"), durability=Durability.FSYNC)
            monkeypatch.setattr(durability.Confirmation, "_until_synced", after_a_power_loss)
            with contextlib.suppress(NotDurableError):
                receipt = await producer.submit(JobRequest(kind="x"), durability=Durability.FSYNC)
                await Inspector(client).job(POOL, receipt.job_id)
    finally:
        place.close()


async def test_a_server_that_never_syncs_is_named(server, monkeypatch):
    """With an unsynced log the job is submitted, and the error says that the job is not durable."""
    monkeypatch.setattr(durability, "LONGEST_WAIT_MS", 300)
    _, client, producer = await server(Durability.FSYNC, "--appendonly", "yes", "--appendfsync", "no")
    with pytest.raises(NotDurableError, match="the job is submitted, but not durable") as refusal:
        await producer.submit(JOB)
    assert "appendfsync" in refusal.value.remedy
    (receipt,) = refusal.value.accepted
    assert (await Inspector(client).job(POOL, receipt.job_id)).payload == "p"
    with pytest.raises(NotDurableError, match="700 jobs are submitted") as refusal:
        await producer.submit_many([JobRequest(kind="x")] * 700)
    assert len(refusal.value.accepted) == 700


@pytest.mark.parametrize(
    ("wanted", "problem"), [(Durability.FSYNC, "appendonly is off"), (Durability.REPLICA, "no replica answers")]
)
async def test_a_server_that_cannot_confirm_refuses_before_anything_is_written(server, wanted, problem):
    """The remedy names the setting; a submit with a different durability passes."""
    _, client, producer = await server(wanted)
    for submit in (producer.submit(JOB), producer.submit_many([JOB])):
        with pytest.raises(DurabilityUnavailableError, match=f"nothing was submitted \\({problem}"):
            await submit
    assert (await Inspector(client).snapshot(POOL)).queued == 0
    assert not (await producer.submit(JOB, durability=Durability.LOCAL)).duplicate


async def test_the_pools_setting_is_the_default_of_every_submit(server):
    """A submit without a choice follows the pool's setting; a choice of the client or the call goes first."""
    running, client, _ = await server(Durability.LOCAL)
    await Inspector(client).configure(POOL, PoolSettings(durability=Durability.FSYNC))
    with pytest.raises(DurabilityUnavailableError, match="fsync"):
        await Producer(client, POOL).submit(JOB)
    await Producer(client, POOL, durability=Durability.LOCAL).submit(JOB)
    async with Client(running.tcp_url, pool=POOL) as chosen:
        with pytest.raises(DurabilityUnavailableError, match="replica"):
            await chosen.submit_many([{"kind": "x"}], durability="replica")
        await chosen.submit("x", durability="local")


async def test_a_changed_setting_of_the_pool_is_seen_within_seconds(server, monkeypatch):
    """A producer reads the setting again after `DEFAULT_KNOWN_SECONDS`, and not with every submit."""
    _, client, _ = await server(Durability.LOCAL)
    producer = Producer(client, POOL)
    await producer.submit(JOB)
    await Inspector(client).configure(POOL, PoolSettings(durability=Durability.FSYNC))
    assert (await producer.submit(JOB)).duplicate
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda now=time.monotonic: now() + 11)
    with pytest.raises(DurabilityUnavailableError, match="fsync"):
        await producer.submit(JOB)


async def test_jobs_before_a_refused_one_are_confirmed_too(server):
    """A refusal brings the receipts of the earlier slices, which are as durable as those of a whole call."""
    _, client, producer = await server(Durability.FSYNC, *AOF)
    await Inspector(client).configure(POOL, PoolSettings(max_depth=600))
    with pytest.raises(QueueFullError) as refusal:
        await producer.submit_many([JobRequest(kind="x")] * 700)
    assert len(refusal.value.accepted) == 500
    assert await client.hexists(f"{Keys(POOL).conf[:-4]}counters", "confirmed")


async def test_a_job_of_many_that_is_lost_is_counted(server):
    """Jobs beyond the first call are checked, too."""
    _, client, producer = await server(Durability.LOCAL, *AOF)
    receipts = await producer.submit_many([JobRequest(kind="x")] * 700)
    await client.delete(f"{Keys(POOL).conf[:-4]}job:{receipts[-1].job_id}")
    with pytest.raises(NotDurableError, match="a failover or a restart lost 1 of them"):
        await confirmation(client).confirm(receipts, Durability.FSYNC)


async def test_a_replica_has_the_job_when_the_submit_returns(server, redis_server_factory, monkeypatch):
    """A stopped replica does not confirm; after its restart the same submit returns a durable duplicate."""
    primary, _, producer = await server(Durability.REPLICA)
    replica = redis_server_factory("--replicaof", f"127.0.0.1 {primary.port}")
    reader = connect(replica.tcp_url)
    try:
        receipt = await submitted_at_last(producer)
        assert await reader.execute_command("EXISTS", f"{Keys(POOL).conf[:-4]}job:{receipt.job_id}") == 1
        monkeypatch.setattr(durability, "LONGEST_WAIT_MS", 300)
        replica.freeze()
        with pytest.raises(NotDurableError, match="a replica did not confirm"):
            await producer.submit(JobRequest(kind="x", idempotency_key="late"))
        replica.thaw()
        monkeypatch.setattr(durability, "LONGEST_WAIT_MS", 1_500)
        assert (await submitted_at_last(producer, JobRequest(kind="x", idempotency_key="late"))).duplicate
    finally:
        await reader.aclose()


async def submitted_at_last(producer, job=JOB):
    """Submit until the replica has caught up, as the error's remedy says."""
    for _ in range(20):
        with contextlib.suppress(NotDurableError, DurabilityUnavailableError):
            return await producer.submit(job)
    pytest.fail("the replica never confirmed")


async def test_a_job_lost_before_the_confirmation_is_not_confirmed(server):
    """A failover comes between the submit and the confirmation: the new primary does not have the job."""
    _, client, producer = await server(Durability.LOCAL, *AOF)
    receipt = await producer.submit(JOB)
    await client.delete(f"{Keys(POOL).conf[:-4]}job:{receipt.job_id}")
    with pytest.raises(NotDurableError, match="a failover or a restart lost 1 of them"):
        await confirmation(client).confirm([receipt], Durability.FSYNC)


async def test_a_user_may_choose_by_name(redis_url):
    """The client takes names, and refuses unknown names before connecting."""
    with pytest.raises(SettingError, match="durability: 'disk': no such choice; use one of local, fsync, replica"):
        Client(redis_url, pool="test/p", durability="disk")
