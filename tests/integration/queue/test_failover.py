"""Servers that change, move or disconnect their clients: the next call succeeds, or reports Redis as unreachable."""

from __future__ import annotations

import asyncio

import pytest
import redis as sync_redis
from redis.exceptions import ResponseError

from agentpool_core.client import Client
from agentpool_core.errors import QueueAccessError, QueueUnreachableError, ResultTimeoutError
from agentpool_core.jobs import JobRequest, JobState, PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, check_server, connect, producer
from agentpool_core.queue.connection.client import call
from tests.fixtures.lines import Line
from tests.fixtures.redis import wait_until

POOL = PoolRef("test", "moves")
SLOTS = 16_384


async def test_a_demoted_server_behind_a_stable_address_is_left(redis_server_factory):
    """Submits, claims and reads continue at the new primary over new connections, without a failed call."""
    old = redis_server_factory()
    new = redis_server_factory("--replicaof", "127.0.0.1", str(old.port))
    present = [old.port]
    line = await Line(lambda: present[0]).open()
    redis, old_admin, new_admin = connect(line.url), connect(old.url), connect(new.url)
    await Inspector(redis).configure(POOL, PoolSettings())
    consumer = Consumer(redis, POOL, WorkerId("w"))
    await consumer.register(slots=5, host="h")
    await asyncio.gather(*(Producer(redis, POOL).submit(JobRequest(kind="x")) for _ in range(5)))
    waiting = asyncio.create_task(call(redis, "BLPOP", "nothing-comes", 0))

    async def caught_up():
        found = (await Inspector(new_admin).snapshots([POOL]))[POOL]
        return getattr(found, "queued", None) == 5

    await wait_until(caught_up, "the replica has the jobs")
    await call(new_admin, "REPLICAOF", "NO", "ONE")
    present[0] = new.port
    await call(old_admin, "REPLICAOF", "127.0.0.1", new.port)
    assert (await Producer(redis, POOL).submit(JobRequest(kind="x"))).queue_depth == 6
    assert len(await consumer.claim(3)) == 3
    assert (await Inspector(new_admin).snapshot(POOL)).running == 3
    with pytest.raises(ResponseError, match="UNBLOCKED"):  # blocked clients get the error as well
        await waiting
    for client in (redis, old_admin, new_admin):
        await client.aclose()
    await line.aclose()


@pytest.mark.parametrize(
    ("asks", "said", "ok"),
    [
        ("", "", True),
        ("requirepass pw", "", True),
        ("requirepass other", "?sentinel_password=other", True),
        ("requirepass other", "", False),
        ("", "?db=3&socket_timeout=5", True),
    ],
    ids=["open", "same", "own", "not given", "options"],
)
async def test_sentinels_may_ask_for_a_password(redis_server_factory, tmp_path, asks, said, ok):
    """The client sends the server's password to a Sentinel that needs a password.

    A URL option sets a separate password.
    """
    server = redis_server_factory("--requirepass", "pw")
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor queue 127.0.0.1 {server.port} 1\nsentinel auth-pass queue pw\n{asks}\n")
    sentinel = redis_server_factory(str(config), "--sentinel")
    redis = connect(f"redis+sentinel://:pw@127.0.0.1:1,127.0.0.1:{sentinel.port}/queue{said}")
    if ok:
        assert await check_server(redis)
        await asyncio.gather(*(call(redis, "PING") for _ in range(200)))
    else:
        with pytest.raises(QueueAccessError, match=r"sentinel_password="):
            await check_server(redis)
    await redis.aclose()


@pytest.fixture
async def node(redis_server_factory):
    """A cluster of one node that keeps its data."""
    server = redis_server_factory("--cluster-enabled", "yes", "--appendonly", "yes", "--appendfsync", "always")
    admin = connect(server.url)
    await call(admin, "CLUSTER", "ADDSLOTS", *range(SLOTS))
    await wait_until(lambda: _is_up(admin), "the cluster is up")
    yield server
    await admin.aclose()


async def _is_up(admin):
    return "cluster_state:ok" in str(await call(admin, "CLUSTER", "INFO"))


async def test_an_absent_cluster_is_unreachable_until_its_return(node, monkeypatch):
    """redis-py's error for this case is no RedisError; workers and clients see the error of a single server."""
    monkeypatch.setattr(producer, "BACKOFF_FIRST_SECONDS", 0.001)
    redis = connect(f"redis+cluster://127.0.0.1:{node.port}")
    await Inspector(redis).configure(POOL, PoolSettings())
    consumer = Consumer(redis, POOL, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    client = Client(redis, pool=POOL)
    receipt = await client.submit("x")
    await asyncio.gather(*(client.submit("x") for _ in range(500)))
    node.kill()
    for asked in (client.submit("x"), client.queue(), consumer.claim(1), consumer.renew(slots=1, running=0)):
        with pytest.raises(QueueUnreachableError):
            await asked
    with pytest.raises(ResultTimeoutError):
        await receipt.result(timeout=0.3)
    node.start()

    async def back():
        try:
            return await client.submit("x")
        except QueueUnreachableError:
            return None

    await wait_until(back, "submits are taken again")
    assert (await client.queue()).queued >= 502
    await client.close()
    await redis.aclose()


async def test_submits_wait_while_a_cluster_moves_the_slot(redis_server_factory):
    """Each submit is stored once, whether the old shard, the new shard or neither received the submit."""
    nodes = [redis_server_factory("--cluster-enabled", "yes") for _ in range(2)]
    first, second = admins = [connect(node.url) for node in nodes]
    await call(first, "CLUSTER", "ADDSLOTS", *range(SLOTS))
    await call(second, "CLUSTER", "SET-CONFIG-EPOCH", 2)
    await call(first, "CLUSTER", "MEET", "127.0.0.1", nodes[1].port)

    async def met():
        return all(
            [
                "cluster_known_nodes:2" in str(await call(admin, "CLUSTER", "INFO")) and await _is_up(admin)
                for admin in admins
            ]
        )

    await wait_until(met, "the nodes know each other")
    redis = connect(f"redis+cluster://127.0.0.1:{nodes[0].port}")
    await Inspector(redis).configure(POOL, PoolSettings())
    old, new = [await call(admin, "CLUSTER", "MYID") for admin in admins]
    slot = await call(first, "CLUSTER", "KEYSLOT", f"ap:{{{POOL}}}:conf")
    await Producer(redis, POOL).submit_many([JobRequest(kind="x")] * 50)
    await call(second, "CLUSTER", "SETSLOT", slot, "IMPORTING", old)
    await call(first, "CLUSTER", "SETSLOT", slot, "MIGRATING", new)
    submits = [asyncio.create_task(Producer(redis, POOL).submit(JobRequest(kind="x"))) for _ in range(20)]
    while keys := await call(first, "CLUSTER", "GETKEYSINSLOT", slot, 10):
        await call(first, "MIGRATE", "127.0.0.1", nodes[1].port, "", 0, 5_000, "KEYS", *keys)
    for admin in (second, first):
        await call(admin, "CLUSTER", "SETSLOT", slot, "NODE", new)
    receipts = await asyncio.gather(*submits)
    jobs = await Inspector(redis).jobs(POOL, JobState.QUEUED, limit=200)
    assert {receipt.job_id for receipt in receipts} <= {job.job_id for job in jobs}
    assert len(jobs) == 70
    await redis.aclose()
    for admin in admins:
        await admin.aclose()


QUIET = {
    "job": lambda client, consumer, job: client.job(job),
    "queue": lambda client, consumer, job: client.queue(),
    "jobs": lambda client, consumer, job: client.jobs("queued"),
    "cancel": lambda client, consumer, job: client.cancel(job),
    "submit": lambda client, consumer, job: client.submit("x"),
    "events": lambda client, consumer, job: anext(client.events(after="0")),
    "claim": lambda client, consumer, job: consumer.claim(1),
    "settings": lambda client, consumer, job: consumer.settings(),
    "register": lambda client, consumer, job: consumer.register(slots=1, host="h"),
    "renew": lambda client, consumer, job: consumer.renew(slots=1, running=0),
    "maintain": lambda client, consumer, job: consumer.maintain(),
    "pools": lambda client, consumer, job: Inspector(client._redis).pools(),
    "configure": lambda client, consumer, job: Inspector(client._redis).configure(POOL, PoolSettings()),
    "check": lambda client, consumer, job: check_server(client._redis),
}


@pytest.mark.parametrize("name", QUIET)
async def test_a_quiet_client_does_not_fail_once(redis_server, pool, name):
    """The server has closed the connections of a quiet client, and the client notices with its next call."""
    client = Client(redis_server.tcp_url, pool=pool)
    consumer = Consumer(client._redis, pool, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    receipt = await client.submit("x")
    with sync_redis.Redis(port=redis_server.port) as admin:  # the event loop is blocked meanwhile and sees no event
        for seen in admin.client_list():
            if seen["cmd"] in {"evalsha", "eval"}:
                admin.client_kill_filter(_id=seen["id"])
    assert await QUIET[name](client, consumer, receipt.job_id)
    await consumer.deregister()
    await client.close()


async def test_a_claim_with_a_lost_answer_requeues_its_jobs_first(redis_server, pool):
    """The jobs of the lost answer are requeued first, so the queue and the worker agree on the worker's jobs."""
    line = await Line(lambda: redis_server.port).open()
    redis = connect(line.url)
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=1, host="h")
    await consumer.claim(0)  # no earlier lease is in doubt
    await Producer(redis, pool).submit_many([JobRequest(kind="x")] * 3)
    line.hold_answers()
    claiming = asyncio.create_task(consumer.claim(1))
    admin = connect(redis_server.url)

    async def taken():
        return (await Inspector(admin).snapshot(pool)).running == 1

    await wait_until(taken, "the claim has reached the queue")
    line.reset()
    line.let_answers_pass()
    (lease,) = await claiming
    running = await Inspector(admin).jobs(pool, JobState.RUNNING)
    assert [(job.job_id, job.attempt) for job in running] == [(lease.job_id, 1)]
    for client in (redis, admin):
        await client.aclose()
    await line.aclose()
