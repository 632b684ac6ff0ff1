"""The queue on a real Cluster, behind Sentinel, and through a failover: local processes, no mocks."""

from __future__ import annotations

import contextlib

import pytest

from agentpool_core.client import Client
from agentpool_core.errors import DurabilityUnavailableError, NotDurableError, QueueError
from agentpool_core.jobs import Durability, JobRequest, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, check_server, connect
from agentpool_core.queue.completions import SettleOutcome, Succeeded, Wake
from tests.fixtures.redis import wait_until

POOLS = [PoolRef("test", f"pool-{number}") for number in range(6)]
SLOTS = 16_384


async def whole_path(redis, pool):
    """Submit, bell, claim, settle, result, snapshot, purge."""
    await Inspector(redis).configure(pool, PoolSettings())
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=2, host="h")
    async with Client(redis, pool=pool) as client:
        receipt = await client.submit("x", {"n": 1})
        assert await consumer.wait(2_000) == [Wake()]
        (lease,) = await consumer.claim(1)
        outcomes, _ = await consumer.exchange([Succeeded(job_id=lease.job_id, token=lease.token, result=2)], 1)
        assert outcomes == [SettleOutcome.APPLIED]
        assert await receipt.result(timeout=5) == 2
        await Producer(redis, pool).submit_many([JobRequest(kind="x")] * 3)
        assert len((await consumer.wait_and_claim(2_000, 2))[1]) == 2
        assert (await client.queue()).running == 2
    await consumer.deregister()


@pytest.fixture
async def cluster(redis_server_factory):
    """Three masters that share the slots, set up with commands that Redis 6 accepts; returns the URL of one master."""
    nodes = []
    for _ in range(3):
        node = redis_server_factory("--cluster-enabled", "yes")
        nodes.append((node, connect(node.tcp_url)))
    for number, (_, client) in enumerate(nodes):
        slots = range(number * SLOTS // 3, (number + 1) * SLOTS // 3)
        await client.execute_command("CLUSTER", "ADDSLOTS", *slots)
        await client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for node, _ in nodes[1:]:
        await nodes[0][1].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port)

    async def ready():
        states = [await client.execute_command("CLUSTER", "INFO") for _, client in nodes]
        return all("cluster_state:ok" in state and "cluster_known_nodes:3" in state for state in states)

    await wait_until(ready, "the three nodes know each other and who has which slots", within_s=30)
    yield f"redis+cluster://127.0.0.1:{nodes[0][0].port}"
    for _, client in nodes:
        await client.aclose()


async def test_pools_spread_over_a_cluster(cluster):
    """Each pool lives in one slot on any of the nodes, and every operation works there."""
    redis = connect(cluster)
    assert await check_server(redis)
    for pool in POOLS:
        await whole_path(redis, pool)
    found = await Inspector(redis).snapshots(POOLS)
    assert [snapshot.queued for snapshot in found.values()] == [3] * len(POOLS)
    assert await Inspector(redis).purge(POOLS[0]) > 5
    await redis.aclose()


async def test_a_cluster_confirms_on_the_node_of_the_pool(cluster):
    """The confirmation is asked on a connection to the pool's own node."""
    redis = connect(cluster)
    for pool in POOLS:
        await Inspector(redis).configure(pool, PoolSettings())
        for wanted, problem in ((Durability.FSYNC, "appendonly is off"), (Durability.REPLICA, "no replica answers")):
            with pytest.raises(DurabilityUnavailableError, match=problem):
                await Producer(redis, pool).submit(JobRequest(kind="x"), durability=wanted)
    for node in redis.get_primaries():
        await node.execute_command("CONFIG", "SET", "appendonly", "yes")
    for pool in POOLS:
        producer = Producer(redis, pool, durability=Durability.FSYNC)
        await wait_until(lambda p=producer: _confirmed(p), "the log of the node is there")
        assert len(await producer.submit_many([JobRequest(kind="x")] * 3)) == 3
    await redis.aclose()


async def _confirmed(producer):
    with contextlib.suppress(DurabilityUnavailableError, NotDurableError):
        return await producer.submit(JobRequest(kind="x", idempotency_key="first"))
    return None


async def test_sentinel_names_the_primary_and_the_queue_follows_it(redis_server_factory, tmp_path):
    """The queue works through Sentinel, and continues with the replica after the death of the primary."""
    primary = redis_server_factory()
    replica = redis_server_factory("--replicaof", "127.0.0.1", str(primary.port))
    writer = connect(replica.url)

    async def linked():
        return (await writer.info("replication"))["master_link_status"] == "up"

    await wait_until(linked, "the replica has its primary", within_s=30)
    await writer.aclose()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"sentinel monitor queue 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds queue 500\nsentinel failover-timeout queue 5000\n"
    )
    sentinel = redis_server_factory(str(config), "--sentinel")
    redis = connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/queue")
    await whole_path(redis, POOLS[0])
    primary.kill()

    async def moved():
        try:
            await Producer(redis, POOLS[0]).submit(JobRequest(kind="x"))
        except QueueError:  # not over yet
            return False
        return True

    await wait_until(moved, "the replica was promoted and takes submits", within_s=60)
    assert (await Inspector(redis).snapshot(POOLS[0])).queued >= 1
    await redis.aclose()
