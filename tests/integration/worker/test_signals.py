"""Real processes and real signals: every job succeeds once by its record, and each run of a handler has a cause."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from dataclasses import replace

import psutil
import pytest

from agentpool_core.errors import QueueError
from agentpool_core.jobs import JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer, connect, scripts
from tests.fixtures.lines import Line
from tests.fixtures.workers import until

LEASE_MS = 600
SETTINGS = PoolSettings(concurrency=8, retry_initial_ms=20, retry_max_ms=50, lease_ms=LEASE_MS, drain_ms=20_000)


@pytest.fixture
async def settings(redis, pool):
    await Inspector(redis).configure(pool, SETTINGS)


@pytest.fixture
async def stack():
    """Close the resources that a test opens."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def load(redis, pool, settings):
    """Submit many jobs at once; return their ids."""

    async def load(kind, payload, count, **fields):
        requests = [JobRequest(kind=kind, payload=payload, **fields) for _ in range(count)]
        return [receipt.job_id for receipt in await Producer(redis, pool).submit_many(requests)]

    return load


async def all_succeeded(redis, pool, jobs):
    """Wait for an empty queue; return the jobs' records, each with exactly one success in its history."""
    inspector = Inspector(redis)

    async def empty() -> bool:
        snapshot = (await inspector.snapshots([pool]))[pool]
        if isinstance(snapshot, QueueError):  # just restarted: the connection is broken
            return False
        return snapshot.queued + snapshot.running + snapshot.scheduled == 0

    await until(empty, "every job has ended")
    records = [await inspector.job(pool, job_id) for job_id in jobs]
    assert {record.state for record in records} == {JobState.SUCCEEDED}
    for record in records:
        assert [entry.type for entry in record.history].count("succeeded") == 1
    return records


async def test_sigterm_under_load_lets_jobs_finish_and_claims_no_more(workers, load, redis, pool):
    """A draining worker finishes its jobs and exits 0; no job runs twice and none is lost."""
    jobs = await load("nap", 0.4, 60)
    begun = lambda: {job for what, job in workers.runs() if what == "start"}  # noqa: E731
    first = workers.start()
    await until(lambda: len(workers.runs()) > 20, "the load is under way")
    first.send(signal.SIGTERM)
    await until(lambda: "leaving" in first.log(), "the worker drains")
    before = begun()
    assert first.wait() == 0
    assert before == begun() == {job for what, job in workers.runs() if what == "end"}
    assert len(before) < 60
    workers.start()
    records = await all_succeeded(redis, pool, jobs)
    assert {record.attempt for record in records} == {1}
    assert set(workers.runs().values()) == {1}


async def test_drain_requeues_jobs_that_do_not_end_in_time(workers, load, redis, pool):
    """After the drain time, a worker requeues long jobs with their state and without counting an attempt."""
    (steps,) = await load("steps", 200, 1)
    (nap,) = await load("nap", 600, 1, max_attempts=1)
    worker = workers.start("--drain-seconds", "0")
    await until(lambda: workers.runs()["step 5", steps] and workers.runs()["start", nap], "both jobs run")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    record = await Inspector(redis).job(pool, nap)
    assert (record.state, record.attempt) == (JobState.QUEUED, 0)
    await Producer(redis, pool).cancel(nap)
    workers.start()
    (record,) = await all_succeeded(redis, pool, [steps])
    assert record.attempt == 1
    done = {what: count for (what, job), count in workers.runs().items() if job == steps and "step" in what}
    assert set(done.values()) == {1}
    assert len(done) == 200


async def test_second_sigterm_requeues_at_once(workers, load, redis, pool):
    """After a second signal, a worker does not wait for its jobs."""
    (nap,) = await load("nap", 600, 1, max_attempts=1)
    worker = workers.start()
    await until(lambda: workers.runs()["start", nap], "the job runs")
    worker.send(signal.SIGTERM)
    await until(lambda: "leaving" in worker.log(), "the worker drains")
    assert worker.get("/readyz") == (503, "draining\n")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    record = await Inspector(redis).job(pool, nap)
    assert (record.state, record.attempt) == (JobState.QUEUED, 0)


async def test_second_sigterm_under_load_repeats_at_most_the_current_step(workers, load, redis, pool):
    """Jobs requeued at once continue elsewhere from their last checkpoint: each succeeds in its first attempt."""
    jobs = await load("steps", 40, 16)
    hurried = workers.start()
    await until(lambda: len(workers.runs()) > 60, "the load is under way")
    hurried.send(signal.SIGTERM)
    await until(lambda: "leaving" in hurried.log(), "the worker drains")
    hurried.send(signal.SIGTERM)
    assert hurried.wait() == 0
    workers.start()
    records = await all_succeeded(redis, pool, jobs)
    assert {record.attempt for record in records} == {1}
    runs = workers.runs()
    steps = {key: count for key, count in runs.items() if key[0].startswith("step")}
    assert len(steps) == 16 * 40
    again = {job for (_, job), count in steps.items() if count > 1}
    assert max(steps.values()) <= 2
    assert sum(steps.values()) - len(steps) == len(again)  # at most the current step of each job
    assert len(again) <= SETTINGS.concurrency
    for job in jobs:
        assert runs["start", job] == 1 + [
            entry.type for entry in (await Inspector(redis).job(pool, job)).history
        ].count("returned")


async def test_second_sigterm_leaves_no_process_of_a_command_behind(workers, load, tmp_path):
    """A command's child processes end with the worker, even if they ignore SIGTERM."""
    script = tmp_path / "agent.sh"
    script.write_text("#!/bin/sh\ntrap '' TERM\nsleep 600 &\necho $! > child.new\nmv child.new child\nwait\n")
    script.chmod(0o755)
    await load("any", None, 1, max_attempts=1)
    worker = workers.start("--handler-command", str(script), app=None)
    child = tmp_path / "child"
    await until(child.exists, "the job's process has a child")
    worker.send(signal.SIGTERM)
    await until(lambda: "leaving" in worker.log(), "the worker drains")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    await until(lambda: not psutil.pid_exists(int(child.read_text())), "the grandchild is gone")


async def test_a_claim_on_its_way_at_the_end_of_a_drain_costs_no_attempt(
    start_workers, redis_server, redis, pool, stack
):
    """Jobs that the queue leased before the worker knew are requeued as if never claimed."""
    await Inspector(redis).configure(pool, PoolSettings(concurrency=1, lease_ms=60_000))
    line = await stack.enter_async_context(contextlib.aclosing(await Line(lambda: redis_server.port).open()))
    worker = (workers := start_workers(line.url, pool)).start()
    producer = Producer(redis, pool)
    # Load the scripts first: the cut line would lose a server's request for a missing script.
    for script in (scripts.EXCHANGE, scripts.CLAIM_PLAIN):
        await redis.script_load(script.source)
    first = (await producer.submit(JobRequest(kind="nap", payload=0.3))).job_id
    await until(lambda: workers.runs()["start", first], "the first job runs")
    line.hold_answers()
    second = (await producer.submit(JobRequest(kind="nap", payload=600, max_attempts=1))).job_id

    async def leased() -> bool:
        return (await Inspector(redis).job(pool, second)).state is JobState.RUNNING

    await until(leased, "the queue has given the second job to the worker, which does not know of it")
    worker.send(signal.SIGTERM)
    await until(lambda: "leaving" in worker.log(), "the worker drains")
    line.let_answers_pass()
    assert await asyncio.to_thread(worker.wait) == 0
    record = await Inspector(redis).job(pool, second)
    assert (record.state, record.attempt) == (JobState.QUEUED, 0)
    assert not workers.runs()["start", second]


async def test_hung_thread_does_not_hold_up_the_exit(workers, load, redis, pool):
    """The job of a sync handler that never returns is requeued, and the process ends without waiting for the thread."""
    await load("hang-in-thread", None, 1)
    worker = workers.start("--drain-seconds", "0")
    await until(lambda: len(workers.runs()) == 1, "the job runs")
    worker.send(signal.SIGTERM)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


async def test_sigkill_costs_a_lease_and_an_attempt(workers, load, redis, pool):
    """Jobs of a killed worker run again on a second worker, once, and succeed."""
    jobs = await load("nap", 0.4, 8)
    doomed = workers.start()
    await until(lambda: len(workers.runs()) == 8, "eight jobs run")
    doomed.send(signal.SIGKILL)
    doomed.wait()
    workers.start()
    records = await all_succeeded(redis, pool, jobs)
    assert {record.attempt for record in records} == {2}
    assert {workers.runs()["start", job] for job in jobs} == {2}
    assert {workers.runs()["end", job] for job in jobs} == {1}


async def test_the_results_of_a_worker_stopped_longer_than_its_lease_are_refused(workers, load, redis, pool):
    """SIGSTOP, recovery by a second worker, SIGCONT: the stale worker drops its jobs and claims new jobs."""
    jobs = await load("nap", 0.5, 4)
    stale = workers.start()
    await until(lambda: len(workers.runs()) == 4, "four jobs run")
    stale.send(signal.SIGSTOP)
    fresh = workers.start()
    records = await all_succeeded(redis, pool, jobs)
    stale.send(signal.SIGCONT)
    await until(lambda: "registering again" in stale.log(), "the stale worker has noticed")
    await until(lambda: stale.metric("agentpool_worker_jobs_total") >= 4, "its finishes were refused")
    assert stale.metric("agentpool_worker_leases_lost_total") == 1
    assert 'outcome="stale"} 4.0' in stale.get("/metrics")[1]
    assert {record.worker for record in records} != {None}
    assert {record.attempt for record in records} == {2}
    runs = workers.runs()
    assert {runs["start", job] for job in jobs} == {2}
    assert {runs["end", job] + runs["cancelled", job] for job in jobs} == {2}  # a single result of each job was refused
    fresh.send(signal.SIGTERM)
    assert fresh.wait() == 0
    more = await load("nap", 0.0, 5)
    await all_succeeded(redis, pool, more)
    assert stale.process.poll() is None


@pytest.mark.parametrize(("kind", "line"), [("block", "time.sleep(payload)"), ("spin", "in spin")])
async def test_blocked_event_loop_is_logged_and_keeps_its_lease(workers, load, redis, pool, kind, line):
    """The log names a handler that blocks the loop for longer than a lease; no job runs twice."""
    (block,) = await load(kind, 2.5, 1)
    worker = workers.start(AGENTPOOL_BLOCK_WARN_SECONDS="0.3")
    await until(lambda: workers.runs()["start", block], "the handler blocks")
    other = workers.start()
    await until(other.ready, "another worker could recover the job")
    assert worker.get("/healthz")[0] == 200
    (record,) = await all_succeeded(redis, pool, [block])
    assert record.attempt == 1
    culprit = re.escape(f"the handler of {kind!r} (job {block}, attempt 1)")
    assert re.search(rf"the event loop has been blocked for [\d.]+ s: {culprit} is at", worker.log())
    assert line in worker.log()
    await until(lambda: worker.metric("agentpool_worker_event_loop_lag_seconds_sum") > 2, "the lag is measured")
    assert worker.metric("agentpool_worker_event_loop_blocks_total") >= 1
    assert workers.runs() == {("start", block): 1, ("end", block): 1}


async def test_a_worker_with_a_blocked_event_loop_frees_its_jobs_and_ends(workers, load, redis, pool):
    """Past the limit the worker does not wait for the loop.

    All jobs are free at once, and only the blocking job has a loss.
    """
    (nap,) = await load("nap", 0.6, 1)  # first: a job that starts after the block appears only after the block
    (block,) = await load("block-at-first", 600, 1)
    stuck = workers.start(AGENTPOOL_BLOCK_WARN_SECONDS="0.2", AGENTPOOL_BLOCK_GIVE_UP_SECONDS="0.6")
    await until(lambda: workers.runs()["start", block] and workers.runs()["start", nap], "both jobs run")
    await until(lambda: "the process ends" in stuck.log(), "the worker ends")
    assert "the lease on 2 jobs is released" in stuck.log()
    record = await Inspector(redis).job(pool, block)
    assert record.losses == 1
    assert f"the handler of 'block-at-first' (job {block}, attempt 1)" in record.last_error
    workers.start()
    blocker, neighbour = await all_succeeded(redis, pool, [block, nap])
    assert (blocker.attempt, blocker.losses) == (2, 1)
    assert (neighbour.attempt, neighbour.losses) == (1, 0)
    assert workers.runs()["end", nap] == workers.runs()["end", block] == 1


async def test_a_worker_is_not_ready_while_its_event_loop_is_blocked(workers, load, redis, pool):
    """Blocked slots are no capacity, and the queue names the blocking handler before the lease is given up."""
    (block,) = await load("block", 600, 1)
    worker = workers.start(AGENTPOOL_BLOCK_WARN_SECONDS="0.2", AGENTPOOL_BLOCK_GIVE_UP_SECONDS="8")
    await until(lambda: worker.get("/readyz")[0] == 503 and workers.runs()["start", block], "the worker is not ready")
    assert f"blocked by the handler of 'block' (job {block}, attempt 1)" in worker.get("/readyz")[1]
    assert worker.get("/healthz")[0] == 200

    async def block_is_logged():
        (seen,) = await Inspector(redis).workers(pool)
        return seen.slots == 0 and "blocked by the handler of 'block'" in seen.note

    await until(block_is_logged, "the queue knows it")


async def test_redis_stopped_and_started_loses_no_job(workers, start_workers, redis_server_factory, pool_ref, stack):
    """Jobs keep running during the outage; their results are kept and delivered after the restart."""
    server = redis_server_factory("--appendonly", "yes", "--appendfsync", "always")
    redis = await stack.enter_async_context(contextlib.aclosing(connect(server.tcp_url)))
    await Inspector(redis).configure(pool_ref, SETTINGS)
    workers = start_workers(server.tcp_url, pool_ref)
    started = [workers.start(), workers.start()]
    await until(lambda: all(worker.ready() for worker in started), "both serve")
    requests = [JobRequest(kind="nap", payload=1.0) for _ in range(16)]
    jobs = [receipt.job_id for receipt in await Producer(redis, pool_ref).submit_many(requests)]
    await until(lambda: len(workers.runs()) == 16, "all jobs run")
    server.stop()
    ends = lambda: sum(what == "end" for what, _ in workers.runs())  # noqa: E731
    await until(lambda: ends() == 16, "the jobs end while Redis is away")
    await until(
        lambda: all("the queue does not answer" in worker.log() for worker in started), "each has said what it misses"
    )
    server.start()
    records = await all_succeeded(redis, pool_ref, jobs)
    assert {record.attempt for record in records} == {1}
    assert set(workers.runs().values()) == {1}
    for worker in started:
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0


async def test_rolling_replacement_under_load_repeats_nothing(workers, load, redis, pool):
    """All workers are replaced one after another: every step of every job runs exactly once."""
    await Inspector(redis).configure(pool, replace(SETTINGS, lease_ms=30_000))  # no lease may expire in this test
    jobs = await load("steps", 40, 24)
    old = [workers.start("--drain-seconds", "0"), workers.start("--drain-seconds", "0")]
    await until(lambda: len(workers.runs()) > 60, "the load is under way")
    for worker in old:
        replacement = workers.start("--drain-seconds", "0")
        await until(replacement.ready, "the replacement is ready")
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
    records = await all_succeeded(redis, pool, jobs)
    assert {record.attempt for record in records} == {1}
    steps = [count for (what, _), count in workers.runs().items() if what.startswith("step")]
    assert len(steps) == 24 * 40
    assert set(steps) == {1}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a child with its killed parent")
async def test_commands_of_a_killed_worker_die(workers, load, tmp_path):
    """The process of a killed worker's job does not run beside the second attempt."""
    script = tmp_path / "agent.py"
    script.write_text("import os, time\nopen('pid-' + os.environ['AGENTPOOL_ATTEMPT'], 'w').write(str(os.getpid()))\n"
                      "time.sleep(600)\n")  # fmt: skip
    await load("any", None, 1)
    worker = workers.start("--handler-command", f"{sys.executable} {script}", app=None)
    pid = tmp_path / "pid-1"
    await until(lambda: pid.exists() and pid.read_text(), "the job's process runs")
    worker.send(signal.SIGKILL)
    worker.wait()
    await until(lambda: not psutil.pid_exists(int(pid.read_text())), "the job's process is gone")
