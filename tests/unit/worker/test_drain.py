"""Leaving: what ends, what is handed back, and that no step of it takes longer than it may."""

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
    except asyncio.CancelledError:  # the worker's; the test's own ends it
        await asyncio.sleep(3600)  # its timer holds the abandoned task, which would be collected with a bare Event


@app.handler("saves-when-cancelled")
async def saves_when_cancelled(payload, ctx):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await ctx.checkpoint("where it was")
        raise


@asynccontextmanager
async def leaving(**how):
    """A worker without Redis, and its drain."""
    async with Bench(app, **how) as bench:
        yield bench, Drain(claims=bench.claims, running_jobs=bench.running_jobs, metrics=bench.metrics)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # what was given up


async def begin_job(bench, kind, **fields):
    """The execution of one job, which runs."""
    bench.submit(lease(kind, **fields))
    await wait_until(lambda: bench.running_jobs.running, "the job runs")
    (execution,) = bench.running_jobs.running
    await asyncio.sleep(0)
    return execution


async def test_what_a_claim_on_its_way_brings_is_handed_back_and_never_begun():
    """The queue has leased it already; the worker that leaves need not start it to give it back."""
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
    """Handed back now means not to wait for the end of jobs; what was cancelled still ends in order."""
    async with leaving() as (bench, drain):
        await begin_job(bench, "tidies-up")
        drain.begin()
        drain.begin()
        await asyncio.wait_for(drain.run(60), 10)
        (completion,) = await bench.settled(1)
    assert isinstance(completion, Succeeded)
    assert bench.metrics.abandoned == 0


@pytest.mark.parametrize("requests", [1, 2])
async def test_a_handler_that_does_not_stop_is_handed_back_without_it(monkeypatch, requests):
    """The last step has an end of its own."""
    monkeypatch.setattr("agentpool_worker.jobs.drain.CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr("agentpool_worker.jobs.drain.REQUEUE_SECONDS", 0.05)
    async with leaving() as (bench, drain):
        await begin_job(bench, "stubborn")
        for _ in range(requests):
            drain.begin()
        await asyncio.wait_for(drain.run(0.0), 10)
        assert await bench.settled(1) == [HANDED_BACK]


@pytest.mark.parametrize(("stop", "end"), [(Stop.CANCELLED, Cancelled), (Stop.TIMEOUT, Failed)])
async def test_a_job_that_was_being_stopped_does_not_hold_up_the_drain(monkeypatch, stop, end):
    """Its grace may be an hour; the drain's is not, and the job ends as it was going to."""
    monkeypatch.setattr("agentpool_worker.jobs.drain.CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr("agentpool_worker.jobs.drain.REQUEUE_SECONDS", 0.05)
    async with leaving(grace_seconds=3600) as (bench, drain):
        execution = await begin_job(bench, "stubborn")
        bench.running_jobs.stop(execution, stop)
        drain.begin()
        await asyncio.wait_for(drain.run(0.0), 10)
        (completion,) = await bench.settled(1)
    assert isinstance(completion, end)


async def test_a_state_saved_at_the_last_moment_goes_back_with_the_job(monkeypatch):
    """A handler that saves where it is when it is cancelled loses nothing."""
    monkeypatch.setattr("agentpool_worker.jobs.drain.CHECKPOINT_SECONDS", 0.02)
    async with leaving() as (bench, drain):
        await begin_job(bench, "saves-when-cancelled")
        drain.begin()
        await asyncio.wait_for(drain.run(0.0), 10)
        (completion,) = await bench.settled(1)
    assert completion == Returned(job_id="job-1", token=1, reason=ReturnReason.DRAIN, checkpoint="where it was")
