"""Redis is unreachable while jobs run: for all clients for a minute, or for a single worker."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import replace

import pytest

from agentpool_core.errors import QueueError
from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect
from tests.fixtures.lines import Line
from tests.fixtures.workers import until

OUTAGE_SECONDS = 60.0  # six leases; no work is possible meanwhile, so the outage costs only its time
SETTINGS = PoolSettings(concurrency=16, retry_initial_ms=20, retry_max_ms=50, lease_ms=10_000)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def stack():
    """Close the resources that a test opens."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


async def succeeded(redis, pool, jobs):
    """Wait until all jobs have succeeded; return their records."""
    inspector = Inspector(redis)

    async def ended() -> bool:
        try:
            return all([(await inspector.job(pool, job_id)).state.terminal for job_id in jobs])
        except QueueError:  # just restarted: the connection is broken
            return False

    await until(ended, "all jobs have ended")
    records = [await inspector.job(pool, job_id) for job_id in jobs]
    assert {record.state for record in records} == {JobState.SUCCEEDED}
    assert all([entry.type for entry in record.history].count("succeeded") == 1 for record in records)
    return records


async def test_jobs_keep_running_during_an_outage_of_redis(
    start_workers, redis_server_factory, pool_ref, stack, tmp_path
):
    """Results are delivered after the outage, running jobs continue or wait at a checkpoint, and no job runs twice.

    A job that is delegated meanwhile is submitted after the outage, once.
    """
    server = redis_server_factory("--appendonly", "yes", "--appendfsync", "always")
    redis = await stack.enter_async_context(contextlib.aclosing(connect(server.tcp_url)))
    await Inspector(redis).configure(pool_ref, SETTINGS)
    workers = start_workers(server.tcp_url, pool_ref)
    started = [workers.start(), workers.start()]
    for worker in started:
        await until(worker.ready, "two workers serve")
    gate = tmp_path / "gate"
    short, long, steps, delegates = load = [
        ("nap", 5.0),
        ("nap", OUTAGE_SECONDS + 10),
        ("steps", 400),
        ("gated", str(gate)),
    ]
    requests = [JobRequest(kind=kind, payload=payload) for kind, payload in load * 8]
    jobs = [receipt.job_id for receipt in await Producer(redis, pool_ref).submit_many(requests)]
    of = lambda what: [job_id for job_id, each in zip(jobs, load * 8, strict=True) if each == what]  # noqa: E731
    told = lambda what, jobs: [bool(workers.runs()[what, job_id]) for job_id in jobs]  # noqa: E731
    await until(lambda: all(told("start", jobs)), "all jobs run")
    server.stop()
    gate.touch()
    await until(lambda: all(told("asks", of(delegates))), "jobs delegate while Redis is away")
    await until(lambda: all(told("end", of(short))), "jobs end while Redis is away")
    await asyncio.sleep(OUTAGE_SECONDS)  # the length of the outage is the subject of this test
    assert not any(told("end", of(long) + of(steps) + of(delegates)))
    server.start()
    records = await succeeded(redis, pool_ref, jobs)
    children = [record.result for record in records if record.kind == "gated"]
    records += await succeeded(redis, pool_ref, children)
    assert (await Inspector(redis).snapshot(pool_ref)).submitted_total == len(records) == 5 * 8
    assert {record.attempt for record in records} == {1}
    assert set(workers.runs().values()) == {1}
    for worker in started:
        assert worker.metric("agentpool_worker_redis_reconnects_total") == 1
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        assert worker.log().count("the queue does not answer; finished jobs are kept") == 1


async def test_the_late_reports_of_an_isolated_worker_are_refused(start_workers, redis_server, redis, pool, stack):
    """Different workers take its jobs after the lease; its late reports are refused, counted, and harm no job."""
    await Inspector(redis).configure(pool, replace(SETTINGS, lease_ms=500))
    line = await stack.enter_async_context(contextlib.aclosing(await Line(lambda: redis_server.port).open()))
    receipts = await Producer(redis, pool).submit_many([JobRequest(kind="nap", payload=1.5)] * 6)
    jobs = [receipt.job_id for receipt in receipts]
    workers = start_workers(line.url, pool)
    alone = workers.start()
    await until(lambda: len(workers.runs()) == 6, "six jobs run")
    line.cut()
    workers.start_plain("worker_app:app", "--redis", redis_server.tcp_url, "--pool", str(pool))
    records = await succeeded(redis, pool, jobs)
    assert {record.attempt for record in records} == {2}
    line.mend()
    await until(lambda: alone.metric("agentpool_worker_jobs_total") == 6, "its finishes were refused")
    assert 'outcome="stale"} 6.0' in alone.get("/metrics")[1]
    await until(lambda: alone.metric("agentpool_worker_leases_lost_total") == 1, "its heartbeat has heard it")
    assert "6 finished jobs were refused" in alone.log()
    assert await succeeded(redis, pool, jobs) == records
    more = await Producer(redis, pool).submit_many([JobRequest(kind="nap", payload=0.0)] * 20)
    await succeeded(redis, pool, [receipt.job_id for receipt in more])


async def test_a_worker_with_an_old_password_ends_for_a_successor_with_the_new_one(
    start_workers, redis_server, redis, pool
):
    """A container that ends is restarted with the current Secret; a container that stays would be refused for ever."""
    await Inspector(redis).configure(pool, replace(SETTINGS, lease_ms=500))
    rules = ("on", "~ap:*", "&ap:*", "+@all", "-@dangerous")
    url = redis_server.tcp_url.replace("redis://", "redis://{user}:{password}@")
    user = f"worker-{pool.name}"
    try:
        await redis.execute_command("ACL", "SETUSER", user, *rules, ">old")
        old = start_workers(url.format(user=user, password="old"), pool).start()
        await until(old.ready, "the worker serves")
        await redis.execute_command("ACL", "SETUSER", user, "resetpass", ">new")
        await redis.execute_command("CLIENT", "KILL", "USER", user)
        assert old.wait() == 1
        assert old.log().splitlines()[-1].startswith("error: Redis refused the user")
        receipt = await Producer(redis, pool).submit(JobRequest(kind="nap", payload=0.0))
        start_workers(url.format(user=user, password="new"), pool).start()
        await succeeded(redis, pool, [receipt.job_id])
    finally:
        await redis.execute_command("ACL", "DELUSER", user)
