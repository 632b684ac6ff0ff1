"""Durable steps: run once, found in order, refused where the program has changed; without Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentpool_core.errors import StaleLeaseError
from agentpool_core.jobs import LeaseToken, StepOutcome
from agentpool_core.queue.completions import Failed, Succeeded
from agentpool_worker import App, Permanent, Retry, StepFailedError, StepOptions
from agentpool_worker.durable import steps as steps_module
from tests.unit.worker.fakes import Bench, FakeQueue, lease


class Job:
    """A job with a new handler in each attempt; the steps stay."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.queue = FakeQueue()
        self.token = 0

    async def do(self, name: str) -> str:
        """A step's work."""
        self.ran.append(name)
        return f"{name} done"

    async def attempt(self, handler) -> Any:
        """The completion of the next attempt, by this handler."""
        app = App()
        app.handler("work")(handler)
        self.token += 1
        async with Bench(app) as bench:
            bench.queue.steps_of = self.queue.steps_of
            bench.submit(lease(token=LeaseToken(self.token), attempt=self.token))
            (completion,) = await bench.settled(1)
            self.queue.calls = bench.queue.calls
            return completion

    def stored(self) -> list[tuple[int, str, str]]:
        return [(step.number, step.name, step.outcome.value) for step in self.queue.steps_of["job-1"].values()]

    def named_steps(self, *names: str, end: Exception | None = None):
        """A handler that runs steps of these names in sequence, and then fails on request."""

        async def handler(payload, ctx):
            results = [await ctx.step(name, self.do, name) for name in names]
            if end is not None:
                raise end
            return results

        return handler


async def test_a_finished_step_returns_from_the_store():
    """The second attempt runs only the step that the first had not finished."""
    job = Job()
    assert isinstance(await job.attempt(job.named_steps("a", "b", end=RuntimeError("crash"))), Failed)
    assert (await job.attempt(job.named_steps("a", "b", "c"))).result == ["a done", "b done", "c done"]
    assert job.ran == ["a", "b", "c"]
    assert job.stored() == [(1, "a", "succeeded"), (2, "b", "succeeded"), (3, "c", "succeeded")]


async def test_every_attempt_sees_the_value_after_encoding():
    """A tuple is a list in the attempt that ran the step too."""
    seen = []

    async def handler(payload, ctx):
        seen.append(await ctx.step("pair", lambda: (1, {2: "two"})))
        if len(seen) == 1:
            raise RuntimeError("crash")

    job = Job()
    await job.attempt(handler)
    await job.attempt(handler)
    assert seen == [[1, {"2": "two"}]] * 2


async def test_a_repeated_name_is_numbered_by_the_order_of_the_calls():
    """The loop of an agent needs no separate names."""
    job = Job()
    await job.attempt(job.named_steps("call", "call", end=RuntimeError("crash")))
    assert (await job.attempt(job.named_steps("call", "call", "call"))).result == ["call done"] * 3
    assert len(job.ran) == 3
    assert [name for _, name, _ in job.stored()] == ["call", "call#2", "call#3"]


@pytest.mark.parametrize(
    ("now", "named", "instead"),
    [
        (("new", "a", "b"), "'new'", "ran step 'a'"),  # inserted at the beginning
        (("a", "new", "b"), "'new'", "ran step 'b'"),  # inserted
        (("a", "renamed"), "'renamed'", "ran step 'b'"),
        (("b",), "'b'", "came after 'a'"),  # removed
        (("b", "a"), "'b'", "came after 'a'"),  # exchanged
    ],
)
async def test_a_changed_program_is_refused_before_anything_runs(now, named, instead):
    """The job fails for good, with the remedy, and no step runs a second time or out of order."""
    job = Job()
    await job.attempt(job.named_steps("a", "b", end=RuntimeError("crash")))
    completion = await job.attempt(job.named_steps(*now))
    assert isinstance(completion, Failed)
    assert not completion.retry
    assert completion.error.startswith(f"StepOrderError: step {named}: it ")
    assert instead in completion.error
    assert 'await ctx.patched("NAME")' in completion.error
    assert job.ran == ["a", "b"]


async def test_a_patch_leaves_the_old_branch_to_old_jobs():
    """An old job skips the new step in every attempt; a new job runs the step in every attempt."""

    def patched(job: Job, *, crash: bool):
        async def handler(payload, ctx):
            await ctx.step("a", job.do, "a")
            if await ctx.patched("audit"):
                await ctx.step("audit", job.do, "audit")
            await ctx.step("b", job.do, "b")
            if crash:
                raise RuntimeError("crash")

        return handler

    old, new = Job(), Job()
    await old.attempt(old.named_steps("a", "b", end=RuntimeError("crash")))
    for job, ran in ((old, ["a", "b"]), (new, ["a", "audit", "b"])):
        await job.attempt(patched(job, crash=True))
        assert isinstance(await job.attempt(patched(job, crash=False)), Succeeded)
        assert job.ran == ran


async def test_concurrent_steps_share_a_write_and_have_fixed_places():
    """Neither the order of their ends nor the order of a later step counts as a change."""

    def fan(job: Job, order: list[str], *, crash: bool):
        gates = {name: asyncio.Event() for name in order}

        async def branch(ctx, name):
            first = await ctx.step(f"{name}1", job.do, f"{name}1")
            await gates[name].wait()
            for after in order[order.index(name) + 1 : order.index(name) + 2]:
                gates[after].set()
            return first, await ctx.step(f"{name}2", job.do, f"{name}2")

        async def handler(payload, ctx):
            await ctx.step("plan", job.do, "plan")
            gates[order[0]].set()
            await asyncio.gather(*(branch(ctx, name) for name in "xyz"))
            if crash:
                raise RuntimeError("crash")
            return await ctx.step("end", job.do, "end")

        return handler

    job = Job()
    await job.attempt(fan(job, ["z", "y", "x"], crash=True))
    assert ("steps", 3, 0) in job.queue.calls  # x1, y1 and z1 together
    assert (await job.attempt(fan(job, ["x", "y", "z"], crash=False))).result == "end done"
    assert sorted(job.ran) == ["end", "plan", "x1", "x2", "y1", "y2", "z1", "z2"]


def branches(ctx, *pauses):
    """Branches with steps of the same names; each waits so many turns before each step."""

    async def branch(turns):
        for number in turns:
            for _ in range(number):
                await asyncio.sleep(0)
            await ctx.step("page", str)

    return asyncio.gather(*map(branch, pauses))


@pytest.mark.parametrize("pauses", [([50], [0]), ([0, 0], [0, 50]), ([0, 50], [0, 90]), ([0], [90], [50])])
async def test_branches_that_share_a_name_in_any_order_are_refused(pauses):
    """A later attempt might reach the steps in a different order, and mix up their results; the first attempt fails."""

    async def handler(payload, ctx):
        await branches(ctx, *pauses)

    completion = await Job().attempt(handler)
    assert not completion.retry
    assert "StepBranchError: step 'page': several branches use this name at once" in completion.error
    assert "give the steps of each branch names of their own" in completion.error


async def test_branches_may_share_a_name_in_a_fixed_order():
    """Each once, in the order of their beginning, also at another place, and the program before and after them."""
    job = Job()

    async def handler(payload, ctx):
        await ctx.step("page", str)
        await branches(ctx, [0], [0], [50])
        await branches(ctx, [0, 0, 0])
        async with asyncio.TaskGroup() as group:
            for name in "ba":
                group.create_task(ctx.step("page", str), name=name)
        await ctx.step("page", str)

    assert isinstance(await job.attempt(handler), Succeeded)
    assert len(job.stored()) == 10


async def test_a_branch_and_the_branches_that_it_starts_share_a_name():
    """The inner branches come behind the step of the outer branch in every attempt."""

    async def outer(ctx):
        await ctx.step("page", str)
        await branches(ctx, [0], [0])

    async def handler(payload, ctx):
        await asyncio.gather(outer(ctx))

    job = Job()
    assert isinstance(await job.attempt(handler), Succeeded)
    assert len(job.stored()) == 3


async def test_a_step_has_separate_retries(monkeypatch):
    """The retries wait, and do not count as attempts of the job; an error that is not named is not retried."""
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    tries = []

    def flaky(error):
        tries.append(error)
        if len(tries) < 3:
            raise error("again")
        return len(tries)

    async def handler(payload, ctx):
        options = StepOptions(retries=4, backoff_seconds=2.0, retry_on=(ConnectionError,))
        assert await ctx.step("flaky", flaky, ConnectionError, options=options) == 3
        tries.clear()
        return await ctx.step("wrong", flaky, ValueError, options=options)

    monkeypatch.setattr(steps_module, "_pause", sleep)
    completion = await Job().attempt(handler)
    assert "StepFailedError: step 'wrong' failed: ValueError: again" in completion.error
    assert tries == [ValueError]
    assert len(pauses) == 2
    assert 1.0 <= pauses[0] <= 2.0 <= pauses[1] <= 4.0


async def test_a_step_has_a_separate_timeout():
    """The step ends with TimeoutError, long before the job's timeout."""

    async def handler(payload, ctx):
        return await ctx.step("hang", asyncio.sleep, 600, options=StepOptions(timeout_seconds=0.01))

    completion = await Job().attempt(handler)
    assert completion.retry
    assert "StepFailedError: step 'hang' failed: TimeoutError" in completion.error


async def test_a_failed_step_runs_again_unless_the_program_went_on():
    """A caught failure decided the branch of the program, so the step stays failed; an uncaught failure is retried."""
    job, caught = Job(), []
    broken = True

    async def fetch():
        if broken:
            raise ConnectionError("down")
        return "fresh"

    async def catches(payload, ctx):
        try:
            text = await ctx.step("fetch", fetch)
        except StepFailedError as error:
            caught.append((error.name, error.error))
            text = await ctx.step("fallback", job.do, "fallback")
        if broken:
            raise RuntimeError("crash")
        return text

    async def plain(payload, ctx):
        return await ctx.step("fetch", fetch)

    other = Job()
    await job.attempt(catches)
    await other.attempt(plain)
    assert other.stored() == [(1, "fetch", "failed")]
    broken = False
    assert (await job.attempt(catches)).result == "fallback done"
    assert caught == [("fetch", "ConnectionError: down")] * 2
    assert (await other.attempt(plain)).result == "fresh"
    assert other.stored() == [(1, "fetch", "succeeded")]


@pytest.mark.parametrize("error", [Retry("later"), Permanent("never"), StaleLeaseError("job-1", 1)])
async def test_an_exception_about_the_job_passes_through_a_step(error):
    """The exception decides on the job, is not retried, and leaves no step."""
    tries = []

    def work():
        tries.append(1)
        raise error

    async def handler(payload, ctx):
        with pytest.raises(type(error)):
            await ctx.step("work", work, options=StepOptions(retries=3))
        return "decided"

    job = Job()
    assert (await job.attempt(handler)).result == "decided"
    assert tries == [1]
    assert job.stored() == []


@pytest.mark.parametrize(
    ("result", "reported"),
    [
        (object(), "StepResultError: step 'work': result: <object object at"),
        ("x" * 2_000_000, "StepResultError: step 'work': result: "),
    ],
)
async def test_a_result_that_cannot_be_stored_fails_the_job_for_good(result, reported):
    """A retry would only repeat the work; the error names the step and the remedy."""

    async def handler(payload, ctx):
        return await ctx.step("work", lambda: result)

    completion = await Job().attempt(handler)
    assert not completion.retry
    assert completion.error.startswith(reported)
    assert "; " in completion.error


@pytest.mark.parametrize("call", ["step", "patched"])
@pytest.mark.parametrize("name", ["", "a#2", "~sleep", "two\nlines", "x" * 201, 7, None])
async def test_a_name_that_cannot_be_used_is_refused(name, call):
    """Names of ours are out of reach, and each is a line of a record."""

    async def handler(payload, ctx):
        return await (ctx.patched(name) if call == "patched" else ctx.step(name, lambda: 1))

    completion = await Job().attempt(handler)
    assert not completion.retry
    assert "StepNameError: step " in completion.error


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_call_instead_of_a_function_is_refused(blocking):
    """The error has the remedy, and the coroutine is closed; nothing is stored."""
    job = Job()

    async def handler(payload, ctx):
        return await ctx.step("fetch", job.do("fetch"))

    def sync_handler(payload, ctx):
        return ctx.step("fetch", job.do("fetch"))

    completion = await job.attempt(sync_handler if blocking else handler)
    assert not completion.retry
    assert "StepFunctionError: step 'fetch': <coroutine object Job.do" in completion.error
    assert "such as `ctx.step('fetch', fetch, url)`" in completion.error
    assert job.ran == []


async def test_the_steps_of_a_job_have_a_limit_in_bytes(monkeypatch):
    """A job with endless steps fails with the remedy, before the steps fill the server."""
    monkeypatch.setattr("agentpool_worker.durable.journal.MAX_JOB_BYTES", 100)
    job = Job()

    async def handler(payload, ctx):
        while True:
            await ctx.step("page", lambda: "x" * 30)

    completion = await job.attempt(handler)
    assert "the results of the job's steps would have more than 100 bytes; store the data elsewhere" in completion.error
    assert len(job.stored()) == 3


async def test_a_sync_handler_has_the_same_steps():
    """The calls block; the places count in the thread."""
    job = Job()

    def handler(payload, ctx):
        first = ctx.step("a", lambda: "sync")
        second = ctx.step("b", job.do, "b")
        if ctx.attempt == 1:
            raise RuntimeError("crash")
        return [first, second]

    def changed(payload, ctx):
        ctx.step("a", lambda: "sync")
        return ctx.step("c", job.do, "c")

    await job.attempt(handler)
    assert (await job.attempt(handler)).result == ["sync", "b done"]
    assert "StepOrderError: step 'c'" in (await job.attempt(changed)).error
    assert job.ran == ["b"]


async def test_steps_inside_a_step_are_places_of_their_own():
    """A crash between the inner and the outer step is no change of the program."""
    job = Job()
    crash = True

    async def handler(payload, ctx):
        async def outer():
            await ctx.step("inner", job.do, "inner")
            if crash:
                raise Retry("crash")
            return "outer"

        await ctx.step("outer", outer)
        return await ctx.step("next", job.do, "next")

    await job.attempt(handler)
    crash = False
    assert (await job.attempt(handler)).result == "next done"
    assert (await job.attempt(handler)).result == "next done"
    assert job.ran == ["inner", "next"]


async def test_a_step_is_stored_before_it_returns():
    """The program after a step may rely on the result: the write was confirmed."""
    job = Job()

    async def handler(payload, ctx):
        await ctx.step("a", job.do, "a")
        return [step.outcome for step in await ctx._calls.steps(ctx._lease)]

    assert (await job.attempt(handler)).result == [StepOutcome.SUCCEEDED]


async def test_emits_are_numbered_within_the_run():
    """Each emit returns once stored; concurrent emits have the order of their calls."""

    async def handler(payload, ctx):
        await ctx.emit("a")
        await asyncio.gather(*(ctx.emit(name) for name in "bcd"))
        await ctx.emit({"e": 1})

    app = App()
    app.handler("work")(handler)
    async with Bench(app) as bench:
        bench.submit(lease())
        await bench.settled(1)
        assert bench.queue.chunks == [(1, '"a"'), (2, '"b"'), (3, '"c"'), (4, '"d"'), (5, '{"e":1}')]
