"""Waits without a slot: the end of an attempt in a wait, and its continuation; without Redis."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from agentpool_core.jobs import LeaseToken
from agentpool_core.queue.completions import Failed, Succeeded, Waiting
from agentpool_worker import App
from agentpool_worker.durable import waits
from tests.unit.worker.fakes import Bench, FakeQueue, lease

HOUR_MS = 3_600_000


class Job:
    """A job over several attempts, at given times."""

    def __init__(self) -> None:
        self.queue = FakeQueue()
        self.token = 0
        self.now_ms = 1_000

    def signal(self, name: str, number: int, value: str) -> None:
        self.queue.signals["job-1", name, number] = value

    async def attempt(self, handler, rules: waits.WaitRules | None = None) -> Any:
        """The completion of the next attempt, by a pool's rules."""
        app = App()
        app.handler("work")(handler)
        self.token += 1
        async with Bench(app, wait_rules=rules) as bench:
            bench.queue.steps_of, bench.queue.signals = self.queue.steps_of, self.queue.signals
            bench.submit(lease(token=LeaseToken(self.token), leased_at_ms=self.now_ms))
            (completion,) = await bench.settled(1)
            assert bench.slots.free == bench.slots.total
            return completion

    def stored(self) -> list[tuple[str, str]]:
        return [(step.name, step.outcome.value) for step in self.queue.steps_of["job-1"].values()]


async def test_a_sleep_releases_the_slot_and_continues_at_its_end():
    """However often the job wakes before: the end of the sleep does not move."""
    job = Job()
    ran = []

    async def handler(payload, ctx):
        await ctx.step("before", lambda: ran.append("before"))
        await ctx.sleep(timedelta(hours=6))
        await ctx.step("after", lambda: ran.append("after"))
        return "rested"

    first = await job.attempt(handler)
    assert isinstance(first, Waiting)
    assert first.signals == ()
    assert 5.99 * HOUR_MS < first.after_ms <= 6 * HOUR_MS
    job.now_ms += 4 * HOUR_MS
    second = await job.attempt(handler)
    assert 1.99 * HOUR_MS < second.after_ms <= 2 * HOUR_MS + 1_000  # the first attempt took some ms
    assert job.stored() == [("before", "succeeded"), ("~sleep", "waiting")]
    job.now_ms += 3 * HOUR_MS
    assert (await job.attempt(handler)).result == "rested"
    assert (await job.attempt(handler)).result == "rested"
    assert ran == ["before", "after"]


async def test_a_wait_returns_the_value_of_its_signal():
    """Every later attempt returns the same value, also if a second wait takes the next signal."""
    job = Job()

    async def handler(payload, ctx):
        return [await ctx.wait_for("approval"), await ctx.wait_for("approval", timeout=60)]

    assert (await job.attempt(handler)) == Waiting(job_id="job-1", token=1, signals=(("approval", 1),))
    job.signal("approval", 1, '{"ok":true}')
    second = await job.attempt(handler)
    assert second.signals == (("approval", 2),)
    assert 59_000 < second.after_ms <= 60_000
    job.signal("approval", 2, "2")
    assert (await job.attempt(handler)).result == [{"ok": True}, 2]
    assert (await job.attempt(handler)).result == [{"ok": True}, 2]


async def test_a_signal_that_came_early_ends_the_wait_at_once():
    """No slot is released, and no attempt ends."""
    job = Job()
    job.signal("go", 1, '"now"')

    async def handler(payload, ctx):
        return await ctx.wait_for("go")

    assert (await job.attempt(handler)).result == "now"


async def test_a_wait_that_times_out_leaves_its_signal_to_the_next(monkeypatch):
    """The timeout is stored, so a later signal does not change the outcome."""
    job = Job()

    async def handler(payload, ctx):
        try:
            await ctx.wait_for("answer", timeout=timedelta(minutes=1))
        except TimeoutError as error:
            if ctx.trace:
                raise
            return [str(error), await ctx.wait_for("answer")]

    await job.attempt(handler)
    job.now_ms += 60_000
    second = await job.attempt(handler)
    assert second.signals == (("answer", 1),)
    job.signal("answer", 1, '"late"')
    result = (await job.attempt(handler)).result
    assert result == ["signal 'answer' did not come within the timeout of ctx.wait_for", "late"]
    assert job.stored() == [("~wait:answer", "expired"), ("~wait:answer#2", "succeeded")]


async def test_a_short_sleep_keeps_its_coroutine(monkeypatch):
    """Replaying an attempt would cost more; the sleep is stored all the same."""
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(waits, "_pause", pause)
    job = Job()

    async def handler(payload, ctx):
        await ctx.sleep(0.5)
        return "rested"

    assert (await job.attempt(handler)).result == "rested"
    assert (await job.attempt(handler)).result == "rested"
    assert pauses == [pytest.approx(0.5, abs=0.1)]


async def test_a_pool_decides_how_short_a_wait_keeps_its_coroutine():
    """The kept wait ends with its signal, not with its time; a pool of 0 keeps none."""
    job = Job()
    beginnings = []

    async def handler(payload, ctx):
        beginnings.append(ctx.attempt)
        asyncio.get_running_loop().call_later(0.01, job.signal, "go", 1, '"came"')
        return await ctx.wait_for("go", timeout=3_600)

    completion = await job.attempt(handler, waits.WaitRules(keep_ms=3_600_000))
    assert completion.result == "came"
    assert beginnings == [1]

    async def short(payload, ctx):
        await ctx.sleep(0.5)

    assert isinstance(await Job().attempt(short, waits.WaitRules(keep_ms=0)), Waiting)


async def test_a_pool_may_refuse_endless_waits():
    """The error names the setting; a wait that began before the setting goes on."""

    async def handler(payload, ctx):
        await ctx.wait_for("go")

    strict = waits.WaitRules(refuse_endless=True)
    job = Job()
    refused = await job.attempt(handler, strict)
    assert not refused.retry
    assert "signal 'go' without a timeout, which spec.queue.waits.endless of the pool refuses" in refused.error
    assert job.stored() == []
    assert isinstance(await job.attempt(handler), Waiting)
    assert isinstance(await job.attempt(handler, strict), Waiting)


async def test_a_job_waits_only_once_no_step_runs():
    """A waiting branch keeps the work of the running branches; then any of the waits resumes the job."""
    job = Job()
    gate = asyncio.Event()
    ran = []

    async def work():
        ran.append("begun")
        await gate.wait()
        ran.append("ended")

    async def other(ctx):
        await ctx.step("work", work)
        await ctx.step("more", lambda: ran.append("more"))
        await ctx.wait_for("b")

    async def handler(payload, ctx):
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.wait_for("a", timeout=600))
            group.create_task(other(ctx))
            asyncio.get_running_loop().call_later(0.05, gate.set)
        return "both"

    completion = await job.attempt(handler)
    assert set(completion.signals) == {("a", 1), ("b", 1)}
    assert 590_000 < completion.after_ms <= 600_000
    assert ran == ["begun", "ended", "more"]
    job.signal("a", 1, "1")
    assert (await job.attempt(handler)).signals == (("b", 1),)
    job.signal("b", 1, "1")
    assert (await job.attempt(handler)).result == "both"
    assert ran == ["begun", "ended", "more"]


async def test_branches_reach_their_waits_in_any_order():
    """A finished step returns at once in the later attempt, so its branch reaches the sleep first: no changed order."""
    job = Job()
    gate = asyncio.Event()

    async def slow(ctx):
        await ctx.step("slow", gate.wait)
        await ctx.sleep(60)
        return "slow"

    async def quick(ctx):
        await ctx.sleep(60)
        return "quick"

    async def handler(payload, ctx):
        asyncio.get_running_loop().call_later(0.01, gate.set)
        await ctx.step("first", lambda: None)
        return await asyncio.gather(slow(ctx), quick(ctx))

    assert isinstance(await job.attempt(handler), Waiting)
    job.now_ms += 61_000
    assert (await job.attempt(handler)).result == ["slow", "quick"]


async def test_concurrent_waits_for_one_signal_take_one_each():
    """Neither signal is delivered twice, although both waits begin before either has a record."""
    job = Job()
    job.signal("go", 1, "1")
    job.signal("go", 2, "2")

    async def handler(payload, ctx):
        return await asyncio.gather(ctx.wait_for("go"), ctx.wait_for("go"))

    assert (await job.attempt(handler)).result == [1, 2]


async def test_a_sync_handler_waits_too():
    """The thread ends with the attempt, also if the handler catches every Exception."""
    job = Job()

    def handler(payload, ctx):
        try:
            return ctx.wait_for("go", timeout=60)
        except Exception:  # noqa: BLE001 - as careless handlers do
            return "swallowed"

    assert isinstance(await job.attempt(handler), Waiting)
    job.signal("go", 1, "7")
    assert (await job.attempt(handler)).result == 7


async def test_a_wait_is_a_place_in_the_program():
    """A step that was inserted before the wait is refused, like any changed order."""
    job = Job()

    async def old(payload, ctx):
        await ctx.sleep(60)

    async def new(payload, ctx):
        await ctx.step("new", lambda: 1)
        await ctx.sleep(60)

    async def patched(payload, ctx):
        if await ctx.patched("new"):
            await ctx.step("new", lambda: 1)
        await ctx.sleep(60)

    await job.attempt(old)
    assert "StepOrderError: step 'new': it is new here" in (await job.attempt(new)).error
    job.now_ms += 60_000
    assert isinstance(await job.attempt(patched), Succeeded)
    assert job.stored() == [("~sleep", "succeeded")]


@pytest.mark.parametrize("limit", [None, -1, float("nan"), 366 * 86_400 + 1, timedelta(days=-1), "5s"])
async def test_a_time_that_no_clock_can_wait_is_refused(limit):
    """The job fails for good, because the program is wrong."""

    async def handler(payload, ctx):
        await ctx.sleep(limit)

    completion = await Job().attempt(handler)
    assert isinstance(completion, Failed)
    assert not completion.retry
    assert "is not a time of 0 s to 366 days; give seconds or a timedelta" in completion.error


async def test_a_wait_inside_a_step_is_refused():
    """The step would run again after the wait, and could never end before."""

    async def handler(payload, ctx):
        await ctx.step("ask", ctx.wait_for, "answer")

    completion = await Job().attempt(handler)
    assert not completion.retry
    assert "inside of step 'ask', which would run again after the wait; wait between two steps" in completion.error


@pytest.mark.parametrize("name", ["", "a b", "a=1", "é", "x" * 101, None])
async def test_a_name_that_no_signal_has_is_refused(name):
    """The refusal comes before anything is stored."""

    async def handler(payload, ctx):
        await ctx.wait_for(name)

    completion = await Job().attempt(handler)
    assert isinstance(completion, Failed)
    assert "signal: " in completion.error
