"""The test kit for handlers, by handlers that need each part of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agentpool_worker import Permanent, Retry
from agentpool_worker.testing import JobUnderTest


def counted(ran):
    """A handler of three steps with a wait and a sleep; `ran` counts the work of its steps."""

    async def handler(payload, ctx):
        async def work(name):
            ran.append(name)
            await ctx.emit(name)
            return f"{name} of {payload}"

        first = await ctx.step("draft", work, "draft")
        decision = await ctx.wait_for("approval", timeout=timedelta(days=1), question="May I?")
        await ctx.sleep(timedelta(hours=6))
        return [first, decision, await ctx.step("post", work, "post")]

    return handler


async def test_a_job_goes_on_until_it_waits_or_has_ended():
    """The clock is the test's own, so six hours and a day take no time."""
    ran = []
    job = JobUnderTest(counted(ran), "x")
    assert await job.run() == "waiting"
    assert (job.waits_for, job.question) == (("approval",), "May I?")
    assert await job.run() == "waiting"
    assert job.runs == 1
    assert job.signal("approval", {"yes": 1}, id="a")
    assert not job.signal("approval", {"yes": 2}, id="a")
    assert await job.run() == "waiting"
    assert (job.waits_for, job.question) == ((), None)
    job.advance(timedelta(hours=5))
    assert await job.run() == "waiting"
    job.advance(3_600)
    assert await job.run() == "succeeded"
    assert job.result == ["draft of x", {"yes": 1}, "post of x"]
    assert (ran, job.output, job.attempt) == (["draft", "post"], ["draft", "post"], 1)
    assert [step.name for step in job.steps] == ["draft", "~wait:approval", "~sleep", "post"]


@pytest.mark.parametrize("step", ["draft", "~wait:approval", "~sleep", "post"])
async def test_a_kill_after_a_step_repeats_nothing(step):
    """The next run finds the step in the store, and the result is that of an undisturbed run."""
    ran = []
    job = JobUnderTest(counted(ran), "x")
    job.signal("approval", 1)
    for _ in range(2):
        await job.run(kill_after=[step])
        job.advance(timedelta(hours=6))
    assert job.result == ["draft of x", 1, "post of x"]
    assert ran == ["draft", "post"]
    assert job.runs > 2


async def test_a_kill_during_a_step_repeats_that_step_only():
    """What it had not stored is lost."""
    ran = []
    job = JobUnderTest(counted(ran), "x")
    assert await job.run(kill_during=["draft"]) == "waiting"
    assert ran == ["draft", "draft"]


async def test_a_wait_times_out_when_the_clock_says_so():
    """TimeoutError in the handler fails the attempt; the retries find the stored timeout."""
    job = JobUnderTest(counted([]), "x", max_attempts=2)
    await job.run()
    job.advance(timedelta(days=1))
    assert await job.run() == "failed"
    assert "TimeoutError: signal 'approval' did not come" in job.error
    assert job.attempt == 2


@pytest.mark.parametrize(("error", "attempts"), [(Retry("again"), 3), (Permanent("never"), 1), (ValueError("bad"), 3)])
async def test_errors_count_as_they_do_in_a_pool(error, attempts):
    """Retries use up the attempts, without waiting; Permanent ends the job."""

    async def handler(payload, ctx):
        raise error

    job = JobUnderTest(handler, max_attempts=3)
    assert await job.run() == "failed"
    assert job.attempt == attempts


async def test_the_rest_of_a_context_is_recorded_too():
    """Progress, checkpoints and children; a sync handler has the same kit."""

    def handler(payload, ctx):
        ctx.progress("half")
        ctx.checkpoint({"n": (ctx.state or {"n": 0})["n"] + 1})
        if ctx.attempt == 1:
            raise Retry
        return [ctx.state, ctx.submit("child", 5).job_id]

    job = JobUnderTest(handler)
    assert await job.run() == "succeeded"
    assert job.result == [{"n": 2}, "child-1"]
    assert (job.progress, [child.payload for child in job.children]) == (["half", "half"], [5])


async def test_a_result_that_is_not_json_fails_the_job_for_good():
    """As in a pool: the test sees the error of the job, and no exception."""

    async def handler(payload, ctx):
        return {payload}

    job = JobUnderTest(handler, "x")
    assert await job.run() == "failed"
    assert (job.attempt, job.runs) == (1, 1)
    assert "returned a result that cannot be stored" in job.error
