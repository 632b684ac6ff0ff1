"""The drain: ended jobs, requeued jobs, and a time limit for each step."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from agentpool_core.queue.completions import Cancelled, Failed, Returned, ReturnReason, Succeeded
from agentpool_worker import App
from agentpool_worker.jobs.drain import Drain
from agentpool_worker.jobs.execution import Stop
from tests.fixtures.redis import wait_until
from tests.unit.worker.fakes import Bench, lease

HANDED_BACK = Returned(job_id="job-1", token=1, reason=ReturnReason.DRAIN)

app = App()


@app.handler("hang")
async def hang(payload):
    await asyncio.Event().wait()


@app.handler("tidies-up")
async def tidies_up(payload):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0.02)
        return "tidied up"


@app.handler("stubborn")
async def stubborn(payload):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:  # the worker's time; the test ends before
        await asyncio.sleep(
            3600
        )  # the timer of the event keeps the abandoned task, which would be collected with a bare Event


@app.handler("saves-when-cancelled")
async def saves_when_cancelled(payload, ctx):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await ctx.checkpoint("where it was")
        raise


@asynccontextmanager
async def leaving(**how):
    """A worker without Redis, in its drain."""
    async with Bench(app, **how) as bench:
        yield bench, Drain(claims=bench.claims, running_jobs=bench.running_jobs, metrics=bench.metrics)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # reasons of abandoned executions


async def begin_job(bench, kind, **fields):
    """The execution of a running job."""
    bench.submit(lease(kind, **fields))
    await wait_until(lambda: bench.running_jobs.running, "the job runs")
    (execution,) = bench.running_jobs.running
    await asyncio.sleep(0)
    return execution


async def test_jobs_of_a_claim_in_flight_are_requeued_without_a_start():
    """The queue has leased the jobs already; the draining worker requeues them without a start."""
    async with leaving() as (bench, drain):
        await wait_until(bench.claims.hungry.is_set, "the worker is idle")
        answer, claim = asyncio.Event(), bench.queue.claim

        async def slow_claim(limit):
            leases = await claim(limit)
            await answer.wait()
            return leases

        bench.queue.claim = slow_claim
        bench.submit(lease("hang"))
        await wait_until(lambda: not bench.queue.ready, "the claim is on its way")
        drain.begin()
        await asyncio.wait_for(drain.run(60), 10)
        answer.set()
        await asyncio.wait_for(bench.claims.wait_for_answers(), 10)
        assert await bench.settled(1) == [HANDED_BACK]
        assert not bench.metrics._run


async def test_a_second_request_leaves_handlers_a_moment_to_tidy_up():
    """A requeue at once skips the wait for running jobs; cancelled handlers still end in order."""
    async with leaving() as (bench, drain):
        await begin_job(bench, "tidies-up")
        drain.begin()
        drain.begin()
        await asyncio.wait_for(drain.run(60), 10)
        (completion,) = await bench.settled(1)
    assert isinstance(completion, Succeeded)
    assert bench.metrics.abandoned == 0


@pytest.mark.parametrize("requests", [1, 2])
async def test_a_handler_that_does_not_stop_is_requeued_without_its_end(monkeypatch, caplog, requests):
    """The last step has a time limit, and the log says how many jobs it requeues."""
    monkeypatch.setattr("agentpool_worker.jobs.drain.CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr("agentpool_worker.jobs.drain.REQUEUE_SECONDS", 0.05)
    async with leaving() as (bench, drain):
        await begin_job(bench, "stubborn")
        for _ in range(requests):
            drain.begin()
        await asyncio.wait_for(drain.run(0.0), 10)
        assert await bench.settled(1) == [HANDED_BACK]
    assert "requeuing 1 jobs" in caplog.messages


async def test_a_drain_without_jobs_ends_at_once(caplog):
    """An hour for the running jobs is not waited for, and no job is reported as requeued."""
    async with leaving() as (_, drain):
        drain.begin()
        await asyncio.wait_for(drain.run(3600), 10)
    assert not [message for message in caplog.messages if message.startswith(("requeuing", "asking"))]


@pytest.mark.parametrize(("stop", "end"), [(Stop.CANCELLED, Cancelled), (Stop.TIMEOUT, Failed)])
async def test_a_job_that_is_being_stopped_does_not_delay_the_drain(monkeypatch, stop, end):
    """The job's grace may be an hour; the drain is shorter, and the job has its intended outcome."""
    monkeypatch.setattr("agentpool_worker.jobs.drain.CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr("agentpool_worker.jobs.drain.REQUEUE_SECONDS", 0.05)
    async with leaving(grace_seconds=3600) as (bench, drain):
        execution = await begin_job(bench, "stubborn")
        bench.running_jobs.stop(execution, stop)
        drain.begin()
        await asyncio.wait_for(drain.run(0.0), 10)
        (completion,) = await bench.settled(1)
    assert isinstance(completion, end)


async def test_a_state_saved_at_the_last_moment_is_requeued_with_the_job(monkeypatch):
    """A handler that saves its state when cancelled loses no work."""
    monkeypatch.setattr("agentpool_worker.jobs.drain.CHECKPOINT_SECONDS", 0.02)
    async with leaving() as (bench, drain):
        await begin_job(bench, "saves-when-cancelled")
        drain.begin()
        await asyncio.wait_for(drain.run(0.0), 10)
        (completion,) = await bench.settled(1)
    assert completion == Returned(job_id="job-1", token=1, reason=ReturnReason.DRAIN, checkpoint="where it was")


async def test_the_first_own_reason_gives_the_exit_code_unless_the_worker_is_asked_to_leave():
    """A supervisor restarts a worker that ended by itself, and none that was asked to end."""
    async with leaving() as (bench, drain):
        assert (drain.exit_code, bench.metrics.draining) == (0, False)
        drain.leave_early(3)
        drain.leave_early(5)
        assert (drain.exit_code, bench.metrics.draining) == (3, True)
        drain.begin()
        assert (drain.exit_code, drain.hurried.is_set()) == (0, False)
        drain.begin()
        assert (drain.exit_code, drain.hurried.is_set()) == (0, True)
    async with leaving() as (_, drain):
        drain.hurry()
        assert (drain.exit_code, drain.begun.is_set()) == (0, True)
