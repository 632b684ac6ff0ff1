"""The costs of handlers that fork, leak or die for the jobs beside them."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_core.queue.keys import Keys
from tests.fixtures.workers import until

SETTINGS = PoolSettings(concurrency=8, retry_initial_ms=20, retry_max_ms=50, lease_ms=1_500)


@pytest.fixture
async def submit(redis, pool):
    await Inspector(redis).configure(pool, SETTINGS)

    async def submit(kind, payload=None, **fields):
        receipt = await Producer(redis, pool).submit(JobRequest(kind=kind, payload=payload, **fields))
        return receipt.job_id

    return submit


@pytest.fixture
def ended(redis, pool):
    """Wait for the end of a job; return its record."""

    async def ended(job_id):
        async def terminal() -> bool:
            return (await Inspector(redis).job(pool, job_id)).state.terminal

        await until(terminal, "the job has ended")
        return await Inspector(redis).job(pool, job_id)

    return ended


@pytest.mark.parametrize(
    ("kind", "payload"), [("fork-and-return", 0), ("fork-and-return", 0.3), ("fork-in-thread", None)]
)
async def test_a_forked_child_that_returns_harms_nothing(workers, submit, ended, kind, payload):
    """The child ends before using a connection; the parent's job, the jobs beside it and the drain are unharmed."""
    worker = workers.start()
    beside = [await submit("nap", 0.5) for _ in range(4)]
    await until(lambda: len(workers.runs()) == 4, "four jobs run")
    forking = await submit(kind, payload)
    await until(lambda: workers.runs()["child", forking], "there is a child")
    after = [await submit("nap", 0.0) for _ in range(20)]
    for job_id in (*beside, forking, *after):
        record = await ended(job_id)
        assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1)
    assert not workers.runs()["child came back", forking]
    living = [child for child in worker.worker_process().children() if child.status() != "zombie"]
    assert living == []
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


async def test_a_lasting_child_does_not_hold_its_killed_workers_bell(workers, submit, ended):
    """A child that outlives its worker holds no connection of the worker, so Redis notices the loss at once."""
    doomed = workers.start(AGENTPOOL_SAFETY_POLL_SECONDS="600")
    job_id = await submit("fork-and-stay", 600, max_attempts=1)
    await until(lambda: workers.runs()["start", job_id], "there is a child")
    (child,) = doomed.worker_process().children()
    try:
        doomed.send(signal.SIGKILL)
        doomed.wait()
        await until(lambda: workers.runs() and child.is_running(), "the child lives on")
        follower = workers.start(AGENTPOOL_SAFETY_POLL_SECONDS="600")
        await until(follower.ready, "another worker has come")
        for _ in range(5):
            assert (await ended(await submit("nap", 0.0))).state is JobState.SUCCEEDED
    finally:
        child.kill()


async def test_a_leak_costs_a_drain_and_no_attempt(workers, submit, ended):
    """Near its memory limit the worker logs its jobs, requeues them and leaves; a successor ends the jobs."""
    leaking = workers.start("--drain-seconds", "0", AGENTPOOL_MEMORY_LIMIT_BYTES=str(400 * 2**20))
    steps = await submit("steps", 400)
    await until(lambda: workers.runs()["start", steps], "a job runs")
    for _ in range(8):
        await submit("leak", 40 * 2**20)
    record = await ended(steps)
    assert "draining before the kernel ends every job; running: 1 steps" in leaking.log()
    assert "exit code 75); a new worker process starts" in leaking.log()
    assert (record.state, record.attempt, record.losses) == (JobState.SUCCEEDED, 1, 1)
    done = [count for (what, job), count in workers.runs().items() if job == steps and what.startswith("step ")]
    assert (len(done), set(done)) == (400, {1})


async def test_a_handler_that_dies_by_sigkill_costs_each_job_beside_it_one_attempt(workers, submit, ended):
    """The worker dies with the handler; after the lease, different workers run all its jobs a second time."""
    workers.start()
    beside = await submit("nap", 0.5)
    await until(lambda: workers.runs()["start", beside], "a job runs beside it")
    killing = await submit("kill")
    await until(lambda: workers.runs()["start", killing], "the worker dies")
    workers.start()
    for job_id in (beside, killing):
        record = await ended(job_id)
        assert (record.state, record.attempt) == (JobState.SUCCEEDED, 2)
        assert workers.runs()["end", job_id] == 1


async def test_native_code_that_stops_every_thread_loses_the_lease_loudly(workers, submit, ended, tmp_path):
    """No thread can renew the lease: different workers run the jobs; the worker logs the cause and is refused."""
    stuck = workers.start()
    await until(stuck.ready, "its side loop runs, which is to notice")
    beside = await submit("nap", 5)
    await until(lambda: workers.runs()["start", beside], "a job runs beside it")
    os.mkfifo(pipe := tmp_path / "pipe")
    holding = await submit("hold-the-lock", str(pipe))
    await until(lambda: workers.runs()["start", holding], "the handler keeps the lock")
    workers.start()
    for job_id in (beside, holding):
        record = await ended(job_id)
        assert (record.state, record.attempt) == (JobState.SUCCEEDED, 2)
    pipe.open("wb").close()  # releases the interpreter
    await until(lambda: stuck.metric("agentpool_worker_jobs_total") == 2, "its finishes were refused")
    assert 'outcome="stale"} 1.0' in stuck.get("/metrics")[1]
    await until(lambda: stuck.metric("agentpool_worker_leases_lost_total") == 1, "its heartbeat has heard it")
    await until(lambda: "the whole process was suspended for" in stuck.log(), "it says so")


DEEP = "[" * 990 + "]" * 990  # text that some Python versions decode, and some do not


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(("payload", "{"), ("payload", DEEP), ("payload", b"\xff\xfe"), ("payload", ""), ("trace", "[1]")),
        *(("checkpoint", "nul"), ("spec", "x"), ("lease", "a b c d"), ("entry", "x"), ("state", "x"), ("expires", "x")),
    ],
    ids=range(11),
)
async def test_an_unreadable_record_fails_its_own_job_only(workers, submit, ended, redis, pool, field, text):
    """A real worker continues with the remaining jobs; the corrupt job can be inspected and purged."""
    await Inspector(redis).configure(pool, replace(SETTINGS, paused=True))
    before = await submit("nap", 0.0)
    bent = await submit("nap", 0.0, ttl_ms=10**9, trace={"traceparent": "t"})
    after = [await submit("nap", 0.0) for _ in range(3)]
    await redis.hset(Keys(pool).job(bent), field, text)
    workers.start()
    await Inspector(redis).configure(pool, SETTINGS)
    for job_id in (before, *after):
        assert (await ended(job_id)).state is JobState.SUCCEEDED
    record = await ended(bent)
    if field != "expires":
        assert (record.state, record.reason) == (JobState.FAILED, "undecodable")
        assert record.error.startswith("undecodable: ")
        assert [job.job_id for job in await Inspector(redis).jobs(pool, JobState.FAILED)] == [bent]
        assert await Inspector(redis).discard(pool, [bent]) == 1
    else:
        assert record.state is JobState.EXPIRED
