"""Redis away under running jobs, for everybody or for one worker only.

`AGENTPOOL_TEST_OUTAGE_SECONDS=60` runs the outage at its full length, with leases of 10 s as in a pool by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from agentpool.errors import QueueError
from agentpool.jobs import JobRequest, JobState
from agentpool.queue import Inspector, PoolSettings, Producer, connect
from tests.fixtures.lines import Line
from tests.fixtures.redis import wait_until
from tests.fixtures.workers import PATIENCE_S

OUTAGE_S = float(os.environ.get("AGENTPOOL_TEST_OUTAGE_SECONDS", "3"))
LEASE_MS = round(OUTAGE_S * 1000 / 6)
SETTINGS = PoolSettings(concurrency=12, retry_initial_ms=20, retry_max_ms=50, lease_ms=LEASE_MS)
pytestmark = pytest.mark.timeout(120 + 4 * OUTAGE_S)


async def until(predicate, description):
    """Waits, with the patience that an outage of this length needs."""
    await wait_until(predicate, description, within_s=PATIENCE_S + 2 * OUTAGE_S)


@pytest.fixture
async def stack():
    """Closes what a test opens."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


async def succeeded(redis, pool, jobs):
    """The jobs' records once all have ended, which all of them did well."""
    inspector = Inspector(redis)

    async def ended() -> bool:
        try:
            return all([(await inspector.job(pool, job_id)).state.terminal for job_id in jobs])
        except QueueError:  # just restarted: our connection is a broken one
            return False

    await until(ended, "all jobs have ended")
    records = [await inspector.job(pool, job_id) for job_id in jobs]
    assert {record.state for record in records} == {JobState.SUCCEEDED}
    assert all([entry.type for entry in record.history].count("succeeded") == 1 for record in records)
    return records


async def test_jobs_run_on_while_redis_is_away(start_workers, redis_server_factory, pool_ref, stack):
    """For six leases long: jobs that end meanwhile are delivered after, others go on, and none is run twice."""
    server = redis_server_factory("--appendonly", "yes", "--appendfsync", "always")
    redis = await stack.enter_async_context(contextlib.aclosing(connect(server.tcp_url)))
    await Inspector(redis).configure(pool_ref, SETTINGS)
    load = [("nap", OUTAGE_S / 3), ("nap", OUTAGE_S * 1.5), ("steps", round(OUTAGE_S * 10))] * 8
    requests = [JobRequest(kind=kind, payload=payload) for kind, payload in load]
    jobs = [receipt.job_id for receipt in await Producer(redis, pool_ref).submit_many(requests)]
    workers = start_workers(server.tcp_url, pool_ref)
    started = [workers.start(), workers.start()]
    await until(lambda: sum(what == "start" for what, _ in workers.runs()) == len(jobs), "all jobs run")
    server.stop()
    short = [job_id for job_id, (_, payload) in zip(jobs, load, strict=True) if payload == OUTAGE_S / 3]
    await until(lambda: all(workers.runs()["end", job_id] for job_id in short), "jobs end while Redis is away")
    await asyncio.sleep(OUTAGE_S * 2 / 3)  # the outage's length is what this test is about
    server.start()
    records = await succeeded(redis, pool_ref, jobs)
    assert {record.attempt for record in records} == {1}
    assert set(workers.runs().values()) == {1}
    for worker in started:
        assert worker.metric("agentpool_worker_redis_reconnects_total") == 1
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        assert worker.log().count("the queue cannot be asked; finished jobs are kept") == 1


async def test_a_worker_cut_off_alone_finds_its_finishes_refused(start_workers, redis_server, redis, pool, stack):
    """Others take its jobs when its lease is over; its late reports are refused, counted, and harm nothing."""
    await Inspector(redis).configure(pool, SETTINGS)
    line = await stack.enter_async_context(contextlib.aclosing(await Line(lambda: redis_server.port).open()))
    receipts = await Producer(redis, pool).submit_many([JobRequest(kind="nap", payload=OUTAGE_S / 2)] * 6)
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
    assert alone.metric("agentpool_worker_leases_lost_total") == 1
    assert "6 finished jobs were refused" in alone.log()
    assert await succeeded(redis, pool, jobs) == records
    more = await Producer(redis, pool).submit_many([JobRequest(kind="nap", payload=0.0)] * 20)
    await succeeded(redis, pool, [receipt.job_id for receipt in more])
