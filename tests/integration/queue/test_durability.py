"""Submits that return after the job is on the primary's disk, or on a replica."""

from __future__ import annotations

import contextlib

import pytest

from agentpool_core.client import Client
from agentpool_core.errors import NotDurableError, SettingError
from agentpool_core.jobs import Durability, JobRequest, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect, durability
from agentpool_core.queue.keys import Keys

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


async def test_a_job_is_on_the_disk_when_the_submit_returns(server):
    """The answer follows the log's fsync, for one job, for many jobs, and for a repeated submit."""
    _, client, producer = await server(Durability.FSYNC, *AOF)
    first = await producer.submit(JOB)
    assert (await producer.submit(JOB)).duplicate
    many = await producer.submit_many([JobRequest(kind="x")] * 700)
    assert len({receipt.job_id for receipt in many} | {first.job_id}) == 701
    info = await client.info("persistence")
    assert info["aof_enabled"] == 1


@pytest.mark.parametrize("options", [(), ("--appendonly", "yes", "--appendfsync", "no")])
async def test_a_server_that_cannot_confirm_the_disk_is_named(server, options):
    """Without a log, or with an unsynced log, the job is submitted, and the error says that the job is not durable."""
    _, client, producer = await server(Durability.FSYNC, *options)
    with pytest.raises(NotDurableError, match="submitted, but not durable") as refusal:
        await producer.submit(JOB)
    assert "appendonly" in refusal.value.remedy
    (receipt,) = refusal.value.accepted
    assert (await Inspector(client).job(POOL, receipt.job_id)).payload == "p"


async def test_the_receipts_of_all_jobs_come_with_the_error(server):
    """Also of more jobs than a script checks in a call."""
    _, _, producer = await server(Durability.FSYNC)
    with pytest.raises(NotDurableError, match="700 jobs are submitted") as refusal:
        await producer.submit_many([JobRequest(kind="x")] * 700)
    assert len(refusal.value.accepted) == 700


async def test_a_job_of_many_that_is_lost_is_counted(server):
    """Jobs beyond the first call are checked, too."""
    _, client, producer = await server(Durability.LOCAL, *AOF)
    receipts = await producer.submit_many([JobRequest(kind="x")] * 700)
    await client.delete(f"{Keys(POOL).conf[:-4]}job:{receipts[-1].job_id}")
    with pytest.raises(NotDurableError, match="a failover lost 1 of them"):
        await durability.confirm(client, Keys(POOL).conf, receipts, Durability.FSYNC)


async def test_a_replica_has_the_job_when_the_submit_returns(server, redis_server_factory):
    """A stopped replica does not confirm; after its restart the same submit returns a durable duplicate."""
    primary, _, producer = await server(Durability.REPLICA)
    with pytest.raises(NotDurableError, match="a replica did not confirm"):
        await producer.submit(JOB)
    replica = redis_server_factory("--replicaof", f"127.0.0.1 {primary.port}")
    reader = connect(replica.tcp_url)
    try:
        receipt = await submitted_at_last(producer)
        assert receipt.duplicate
        assert await reader.execute_command("EXISTS", f"{Keys(POOL).conf[:-4]}job:{receipt.job_id}") == 1
        replica.freeze()
        with pytest.raises(NotDurableError):
            await producer.submit(JobRequest(kind="x"))
        replica.thaw()
    finally:
        await reader.aclose()


async def submitted_at_last(producer):
    """Submit until the replica has caught up, as the error's remedy says."""
    for _ in range(20):
        with contextlib.suppress(NotDurableError):
            return await producer.submit(JOB)
    pytest.fail("the replica never confirmed")


async def test_a_job_lost_before_the_confirmation_is_not_confirmed(server):
    """A failover comes between the submit and the confirmation: the new primary does not have the job."""
    _, client, producer = await server(Durability.LOCAL, *AOF)
    receipt = await producer.submit(JOB)
    await client.delete(f"{Keys(POOL).conf[:-4]}job:{receipt.job_id}")
    with pytest.raises(NotDurableError, match="a failover lost 1 of them"):
        await durability.confirm(client, Keys(POOL).conf, [receipt], Durability.FSYNC)


async def test_a_user_may_choose_by_name(redis_url):
    """The client takes names, and refuses unknown names before connecting."""
    with pytest.raises(SettingError, match="durability: 'disk': no such choice; use one of local, fsync, replica"):
        Client(redis_url, pool="test/p", durability="disk")


async def test_a_cluster_refuses_at_once():
    """The confirmation needs the connection of the write, which a cluster's client does not promise."""
    cluster = connect("redis+cluster://127.0.0.1:1")
    with pytest.raises(SettingError, match="durability"):
        Producer(cluster, POOL, durability=Durability.REPLICA)
    await cluster.aclose()
