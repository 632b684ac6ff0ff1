"""Whole workers on a real Redis: the outcomes of jobs of every sort."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agentpool_core.jobs import Job, JobRequest, JobState
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_core.queue.settings import Route
from tests.fixtures.workers import until


@pytest.fixture
async def settings(redis, pool):
    """Quick retries, short leases."""
    await Inspector(redis).configure(
        pool, PoolSettings(concurrency=10, retry_initial_ms=20, retry_max_ms=50, lease_ms=1_000)
    )


@pytest.fixture
def submit(redis, pool, settings):
    producer = Producer(redis, pool)

    async def submit(kind, payload=None, **fields):
        return (await producer.submit(JobRequest(kind=kind, payload=payload, **fields))).job_id

    return submit


@pytest.fixture
def ended(redis, pool):
    async def ended(job_id) -> Job:
        async def terminal() -> bool:
            return (await Inspector(redis).job(pool, job_id)).state.terminal

        await until(terminal, f"job {job_id} has ended")
        return await Inspector(redis).job(pool, job_id)

    return ended


async def test_jobs_of_every_shape_end_as_they_should(workers, submit, ended):
    """Results, progress, retries, children and parents' results all reach the record."""
    workers.start()
    jobs = {
        "nap": await submit("nap", 0.01),
        "thread": await submit("thread-nap", 0.01),
        "busy": await submit("busy"),
        "progress": await submit("progress", 3),
        "parent": await submit("parent", trace={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}),
    }
    numbers = [await submit("number", number) for number in (4, 5)]
    jobs["sum"] = await submit("sum-of-parents", after=tuple(numbers))
    done = {name: await ended(job_id) for name, job_id in jobs.items()}
    assert {job.state for job in done.values()} == {JobState.SUCCEEDED}
    assert done["nap"].result == {"napped": 0.01}
    assert done["busy"].result == [1, "it was busy"]
    assert done["progress"].result == done["progress"].progress == {"done": 3}
    assert done["parent"].result["trace"] == {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    assert (await ended(done["parent"].result["child"])).state is JobState.SUCCEEDED
    assert done["sum"].result == 9


async def test_a_new_worker_starts_due_jobs(redis, pool, workers, submit, ended):
    """A worker that starts at zero workers starts due jobs on time: only recovery has to wait for a lease."""
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=3_600_000, retry_initial_ms=20))
    late = await submit("nap", 0.0, delay_ms=1_000)
    workers.start()
    assert (await ended(late)).state is JobState.SUCCEEDED


async def test_handlers_that_misbehave_harm_only_their_own_jobs(workers, submit, ended, redis, pool):
    """sys.exit (even in a task of the handler), unencodable results and hangs fail one job each."""
    settings = await Inspector(redis).settings(pool)
    await Inspector(redis).configure(pool, replace(settings, unknown_kind_ms=0))  # no worker with that kind will start
    worker = workers.start("--concurrency", "10")
    bystander = await submit("nap", 1.0)
    bad = [await submit(kind, 3, max_attempts=1) for kind in ("exit", "not-json", "no-such-kind")]
    hung = await submit("hang-in-thread", timeout_ms=100, max_attempts=1)
    alive = await submit("exit-in-task", 5)
    for job_id in (*bad, hung):
        assert (await ended(job_id)).state is JobState.FAILED
    assert (await ended(alive)).result == "the worker lives"
    assert (await ended(bystander)).attempt == 1
    unknown = await ended(bad[2])
    assert "no worker of the pool has known the kind no-such-kind" in unknown.error
    assert "nap" in unknown.error
    assert "not JSON" in (await ended(bad[1])).error or "cannot be kept" in (await ended(bad[1])).error
    assert worker.process.poll() is None

    def logged() -> dict[str, str]:
        lines = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
        return {line["job_id"]: line["error"] for line in lines if line.get("outcome") == "dead"}

    await until(lambda: logged().keys() == {*bad, hung}, "the log has each failure")
    assert logged()[bad[0]] == "SystemExit: 3"
    assert logged()[hung] == "timeout: the attempt ran longer than 0.1 s"


async def test_a_handler_that_is_always_busy_ends_its_job_at_last(workers, submit, ended):
    """A job may be deferred for the duration of an attempt; then the attempt counts, and at last no attempt is left."""
    workers.start()
    record = await ended(await submit("always-busy", timeout_ms=300, max_attempts=2))
    assert (record.state, record.attempt) == (JobState.FAILED, 2)
    assert record.error.endswith("the 0.3 s that the attempt may run; the handler said: come back tomorrow")


async def test_a_jobs_own_log_lines_carry_its_id(workers, submit, ended):
    """A handler's log line through its context is a line of JSON with the job's id, kind and attempt."""
    worker = workers.start()
    job_id = await submit("says", 7)
    await ended(job_id)
    lines = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["message"] == "read a page"]
    assert (line["job_id"], line["kind"], line["attempt"], line["page"]) == (job_id, "says", 1, 7)


async def test_cancel_reaches_a_running_job(workers, submit, ended, redis, pool):
    """A cancelled job's handler is interrupted at once, long before its timeout."""
    workers.start()
    job_id = await submit("nap", 600)
    await until(lambda: workers.runs()["start", job_id] == 1, "the job runs")
    await Producer(redis, pool).cancel(job_id)
    assert (await ended(job_id)).state is JobState.CANCELLED
    assert workers.runs()["cancelled", job_id] == 1


async def test_a_free_slot_is_taken_in_milliseconds(workers, submit, ended):
    """A job starts without polling on an idle worker, and on a worker that was full before."""
    worker = workers.start("--concurrency", "1")
    await until(worker.ready, "the worker is ready")
    for _ in range(3):  # each fills the only slot and frees the slot again
        first = await ended(await submit("nap", 0.05))
        second = await ended(await submit("nap", 0.0))
        for job in (first, second):
            assert job.claimed_at_ms - job.enqueued_at_ms < 1_000  # the fallback poll comes after 10 s


async def test_concurrency_changes_without_a_restart(workers, submit, redis, pool, ended):
    """New settings reach a running worker, and its slots follow."""
    await Inspector(redis).configure(pool, PoolSettings(concurrency=1, lease_ms=1_000))
    worker = workers.start()
    jobs = [await submit("nap", 600) for _ in range(4)]
    await until(lambda: len(workers.runs()) == 1, "one job runs")
    await Inspector(redis).configure(pool, PoolSettings(concurrency=4, lease_ms=1_000))
    await until(lambda: len(workers.runs()) == 4, "four jobs run")
    assert worker.metric("agentpool_worker_slots") == 4
    assert worker.metric("agentpool_worker_slots_used") == 4
    for job_id in jobs:
        await Producer(redis, pool).cancel(job_id)
        await ended(job_id)


async def test_a_worker_runs_what_fits_into_its_memory(workers, submit, redis, pool, ended):
    """Jobs of 40 and of 10 of 80 GiB start as they fit, the oldest first, when others have ended."""
    routes = (
        Route(name="big", kinds=("nap",), gpu_memory_mib=40),
        Route(name="small", kinds=("thread-nap",), gpu_memory_mib=10),
    )
    settings = PoolSettings(concurrency=10, routes=routes, gpu_memory_mib=80, lease_ms=1_000)
    await Inspector(redis).configure(pool, settings)
    workers.start()

    async def started(count) -> None:
        starts = lambda: {job for what, job in workers.runs() if what == "start"}  # noqa: E731
        await until(lambda: len(starts()) == count, f"{count} jobs have started")

    big = [await submit("nap", 600) for _ in range(3)]
    await started(2)
    small = [await submit("thread-nap", 0.01) for _ in range(8)]
    await Producer(redis, pool).cancel(big[0])
    await ended(big[0])
    await started(3)
    assert (await Inspector(redis).job(pool, small[0])).state is JobState.QUEUED
    await Producer(redis, pool).cancel(big[1])
    assert {(await ended(job_id)).state for job_id in small} == {JobState.SUCCEEDED}
    await Producer(redis, pool).cancel(big[2])
    await ended(big[2])


async def test_metrics_report_outcomes(workers, submit, ended):
    """Outcomes, latencies and renewals can be scraped."""
    worker = workers.start()
    for _ in range(3):
        await ended(await submit("nap", 0.0))
    await until(lambda: worker.metric("agentpool_worker_jobs_total") == 3, "three jobs are counted")
    text = worker.get("/metrics")[1]
    assert 'agentpool_worker_jobs_total{kind="nap",outcome="applied"} 3.0' in text
    assert "agentpool_worker_dispatch_latency_seconds_count 3.0" in text
    assert 'agentpool_worker_job_run_seconds_count{kind="nap"} 3.0' in text
    await until(lambda: worker.metric("agentpool_worker_lease_renewals_total") >= 1, "the lease is renewed")
    assert worker.get("/healthz") == (200, "ok\n")
    families = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert {name: families.get(f"agentpool_worker_{name}") for name in FAMILIES} == FAMILIES


FAMILIES = {  # metrics that operators of a worker look for, from its first moment: name and type
    "jobs": "counter",
    "dispatch_latency_seconds": "histogram",
    "job_run_seconds": "histogram",
    "slots": "gauge",
    "slots_used": "gauge",
    "lease_renewals": "counter",
    "lease_renewal_failures": "counter",
    "leases_lost": "counter",
    "redis_reconnects": "counter",
    "slot_changes": "counter",
    "event_loop_lag_seconds": "histogram",
    "event_loop_blocks": "counter",
    "abandoned_jobs": "counter",
    "recovered_jobs": "counter",
    "draining": "gauge",
}
