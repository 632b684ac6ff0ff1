"""The ACL rules of each role on a real server permit the role's work and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.client import Client
from agentpool_core.doctor.pool import examine
from agentpool_core.errors import QueueAccessError, QueueError
from agentpool_core.jobs import JobRequest, JobState, PoolRef, Step, StepOutcome, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, check_server, connect, scripts
from agentpool_core.queue.acl import Role, rules
from agentpool_core.queue.completions import Failed, Succeeded
from agentpool_core.queue.keys import notes_of
from agentpool_core.queue.schedule import Schedule
from agentpool_core.queue.selector import JobSelector
from agentpool_core.queue.tenant_waits import longest_waits

POOL, OTHER = PoolRef("research", "analysts"), PoolRef("sales", "analysts")
HOSTILE = (
    ("CONFIG", "GET", "*"), ("FLUSHALL",), ("KEYS", "*"), ("ACL", "LIST"), ("SHUTDOWN",), ("BGSAVE",),
    ("CLIENT", "LIST"), ("MONITOR",), ("REPLICAOF", "evil", "6379"), ("SCRIPT", "FLUSH"),
    ("MIGRATE", "evil", "1", "k", "0", "1"),
    ("SCAN", "0"), ("RANDOMKEY",), ("SMEMBERS", "ap:namespaces"), ("SMEMBERS", "ap:{sales/}:pools"),
    ("HGETALL", "ap:{sales/}:deletable"), ("SUBSCRIBE", "ap:{sales/}:pressure"),
    ("PUBLISH", "ap:{sales/}:pressure", "x"),
    ("GET", "secret"), ("HGETALL", f"ap:{{{OTHER}}}:conf"), ("EVAL", "return redis.call('GET', 'secret')", "0"),
    ("EVAL", f"return redis.call('HGETALL', 'ap:{{{OTHER}}}:conf')", "0"), ("PUBLISH", "other", "x"),
)  # fmt: skip


@pytest.fixture
async def users(redis_server_factory):
    """A client for each role on the namespace `research`, and the administrator's."""
    server = redis_server_factory()
    admin = connect(server.url)
    major, minor, *_ = (await check_server(admin)).split(".")
    version = (int(major), int(minor))
    clients = {}
    for role in Role:
        await admin.execute_command(
            "ACL", "SETUSER", role, "on", ">pw", *rules(role, pools="research/*", version=version)
        )
        clients[role] = connect(server.url, username=role.value, password="pw")
    await admin.set("secret", "x")
    await Inspector(admin).configure(OTHER, PoolSettings())
    yield clients | {"admin": admin}
    for client in (*clients.values(), admin):
        await client.aclose()


async def test_every_role_does_its_work(users):
    """A job runs from submit to purge, failure, retry and wait included, with each part under its own user."""
    operator, reader = Inspector(users[Role.OPERATOR]), Inspector(users[Role.READER])
    await operator.configure(POOL, PoolSettings(retry_initial_ms=0, retry_max_ms=0))
    producer = Producer(users[Role.SUBMITTER], POOL)
    first = await producer.submit(JobRequest(kind="x", idempotency_key="k", ttl_ms=60_000))
    await producer.submit(JobRequest(kind="x", after=(first.job_id,), delay_ms=1))
    doomed = await producer.submit(JobRequest(kind="x", max_attempts=1))
    await producer.cancel((await producer.submit(JobRequest(kind="x"))).job_id)
    consumer = Consumer(users[Role.WORKER], POOL, WorkerId("w"))
    await consumer.register(slots=5, host="h")
    leases = {lease.job_id: lease for lease in await consumer.claim(5)}
    await consumer.checkpoint(leases[first.job_id], {"a": 1})
    await consumer.progress(leases[first.job_id], 0.5)
    step = Step(number=1, name="a", outcome=StepOutcome.SUCCEEDED, attempt=1, started_at_ms=1, duration_ms=1)
    await consumer.record_steps(leases[first.job_id], [step])
    assert len(await consumer.steps(leases[first.job_id])) == 1
    await producer.signal(first.job_id, "go", 1)
    assert await consumer.signal_value(leases[first.job_id], "go", 1) == "1"
    await consumer.renew(slots=5, running=2)
    client = Client(users[Role.SUBMITTER], pool=POOL)
    waiting = asyncio.create_task(client.result(first.job_id, timeout=20))
    await consumer.settle(
        [
            Succeeded(job_id=first.job_id, token=leases[first.job_id].token, result=1),
            Failed(job_id=doomed.job_id, token=leases[doomed.job_id].token, error="no"),
        ]
    )
    assert await waiting == 1
    await client.put_schedule(Schedule(name="s", kind="x", every_ms=1_000))
    await client.pause_schedule("s")
    await client.pause_schedule("s", paused=False)
    await users["admin"].execute_command("ZADD", f"ap:{{{POOL}}}:schedules-due", 1, "s")
    await consumer.maintain()
    assert [state.last_outcome for state in await reader.schedules(POOL).list()] == ["submitted"]
    await client.cancel((await client.schedules())[0].last_job_id)
    await client.delete_schedule("s")
    await consumer.wait(10)
    assert (await reader.snapshot(POOL)).finished_total == 4
    assert [job.job_id for job in await reader.jobs(POOL, JobState.FAILED)] == [doomed.job_id]
    assert await reader.select(POOL, JobSelector(states=(JobState.SUCCEEDED, JobState.CANCELLED))).count() == 3
    assert (await reader.job(POOL, first.job_id)).result == 1
    assert await reader.events(POOL)
    assert await client.replay_selected(JobSelector(kinds=("x",))) == 1
    assert await client.cancel_selected(JobSelector(kinds=("x",))) == 2
    assert await client.purge_selected(JobSelector(states=(JobState.SUCCEEDED,))) == 1
    await producer.submit(JobRequest(kind="x", tenant="acme"))
    waits = await longest_waits(users[Role.OPERATOR], POOL, await operator.snapshot(POOL))
    assert [wait.tenant for wait in waits] == ["acme"]
    await client.close()
    await consumer.deregister()
    assert await reader.pools(["research"]) == [POOL]
    with pytest.raises(QueueAccessError):
        await reader.pools()  # foreign namespaces are outside its rules
    assert await operator.purge(POOL) > 0
    assert await reader.pools(["research"]) == []


async def test_a_tenants_operator_receives_its_own_pools_only(users):
    """The operator receives notes and signals of its own namespace; foreign channels are refused."""
    operator = users[Role.OPERATOR]
    await Inspector(operator).configure(POOL, PoolSettings())
    await Inspector(users["admin"]).configure(OTHER, PoolSettings())
    signals = Inspector(operator).pressure([POOL.namespace])
    heard = asyncio.create_task(anext(signals))
    while not heard.done():
        await Producer(users["admin"], OTHER).submit(JobRequest(kind="x"))
        await Producer(users[Role.SUBMITTER], POOL).submit(JobRequest(kind="x"))
        await asyncio.wait([heard], timeout=0.02)
    assert heard.result() == POOL
    await signals.aclose()
    theirs = Inspector(operator).pressure([OTHER.namespace])
    with pytest.raises(QueueAccessError):
        await anext(theirs)
    await operator.execute_command("HSET", notes_of(POOL.namespace), POOL.name, "cluster uid")
    assert await Inspector(operator).namespaces() == []
    assert await Inspector(users["admin"]).namespaces() == [OTHER.namespace]


async def test_no_list_names_a_tenants_pools_to_another_tenant(users):
    """A pool of a foreign namespace appears in lists only after a user of its namespace has set up the pool."""
    await Inspector(users[Role.OPERATOR]).configure(POOL, PoolSettings())
    assert await Inspector(users["admin"]).pools() == [OTHER]
    assert await Inspector(users["admin"]).pools([POOL.namespace]) == [POOL]
    await Inspector(users["admin"]).configure(POOL, PoolSettings())
    assert await Inspector(users["admin"]).pools() == [POOL, OTHER]


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_can_do_nothing_dangerous_and_nothing_elsewhere(users, role):
    """Administration, foreign keys and foreign pools are refused to every role, also inside a script."""
    for command in HOSTILE:
        with pytest.raises(
            Exception, match=r"(?i)no permission|NOPERM|permissions|ACL|user executing the script can't"
        ):
            await users[role].execute_command(*command)
    with pytest.raises(QueueAccessError):
        await Producer(users[role], OTHER).submit(JobRequest(kind="x"))


async def test_a_reader_changes_nothing(users):
    """Every script that writes is refused to a reader."""
    await Inspector(users[Role.OPERATOR]).configure(POOL, PoolSettings())
    with pytest.raises(QueueAccessError):
        await Producer(users[Role.READER], POOL).submit(JobRequest(kind="x"))
    with pytest.raises(QueueAccessError):
        await Inspector(users[Role.READER]).configure(POOL, PoolSettings(paused=True))
    with pytest.raises(QueueError):
        await Consumer(users[Role.READER], POOL, WorkerId("w")).register(slots=1, host="h")
    for command in ("HSET", "DEL", "XADD", "SET", "LPUSH"):
        with pytest.raises(Exception, match=r"(?i)no permission|permissions"):
            await users[Role.READER].execute_command(command, f"ap:{{{POOL}}}:x", "*", "a", "b")


async def test_only_operators_purge(users):
    """No other role may delete a pool's settings with UNLINK."""
    await Inspector(users[Role.OPERATOR]).configure(POOL, PoolSettings())
    for role in (Role.WORKER, Role.READER, Role.SUBMITTER):
        with pytest.raises(Exception, match=r"(?i)permission"):
            await users[role].unlink(f"ap:{{{POOL}}}:conf")


def test_every_script_has_a_role():
    """A new script needs a role, or no user could run the script under these rules."""
    from agentpool_core.queue import acl

    given = {name for listed in acl._SCRIPTS.values() for name in listed}
    assert {script.name for script in scripts.ALL} == given


@pytest.mark.parametrize(("repair", "level"), [(False, "note"), (True, "failure")])
async def test_a_repair_that_a_role_may_not_do_is_no_success(users, repair: bool, level: str):  # noqa: FBT001
    """The doctor may skip an audit that was not requested; a repair was requested, and fails."""
    await users["admin"].execute_command("ACL", "SETUSER", Role.READER, "-sscan")  # which the audit needs
    await Inspector(users[Role.OPERATOR]).configure(POOL, PoolSettings())
    found = [finding async for finding in examine(users[Role.READER], POOL, repair=repair)]
    assert [finding.level for finding in found if finding.check == "consistency"] == [level]
