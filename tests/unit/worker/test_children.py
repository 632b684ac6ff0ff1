"""Children of a job: `ctx.map` and `ctx.gather`, over attempts and kills, by the test kit."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agentpool_core.jobs import JobId, LeaseToken
from agentpool_worker import Child, ChildFailedError, ChildOptions
from agentpool_worker.durable.children import Group, GroupPolicy
from agentpool_worker.testing import JobUnderTest
from tests.unit.worker.fakes import lease


async def double(payload, ctx):
    return payload * 2


async def fail_on_odd(payload, ctx):
    if payload % 2:
        raise ValueError(f"{payload} is odd")
    return payload


async def sum_of_doubles(payload, ctx):
    return sum(await ctx.map("double", payload))


async def test_results_come_in_order_and_the_parent_waits_meanwhile():
    """The parent starts twice: until the children run, and with their results."""
    job = JobUnderTest(sum_of_doubles, [1, 2, 3])
    assert await job.run() == "waiting"
    assert [child.payload for child in job.children] == [1, 2, 3]
    for child in reversed(job.children):
        job.end_child(child.job_id, child.payload * 10)
    assert await job.run() == "succeeded"
    assert (job.result, job.runs, job.attempt) == (60, 2, 1)
    assert [(step.name, step.outcome) for step in job.steps] == [("~map:double", "succeeded")]


@pytest.mark.parametrize("kills", [{"kill_after": ["~map:double"]}, {"kill_during": ["~map:double"]}])
async def test_a_kill_around_the_submit_starts_no_child_twice(kills):
    """The ids of the children are the same in every attempt."""
    job = JobUnderTest(sum_of_doubles, list(range(20)), child_handlers={"double": double})
    await job.run(**kills)
    assert await job.run(**kills) == "succeeded"
    assert job.result == sum(range(20)) * 2
    assert len({child.job_id for child in job.children}) == len(job.children) == 20


async def test_no_children_give_an_empty_list():
    """A group of none does not wait."""
    job = JobUnderTest(sum_of_doubles, [])
    assert await job.run() == "succeeded"
    assert job.result == 0


def test_a_sync_handler_has_groups():
    """The thread of a sync handler blocks where an async handler awaits."""

    def handler(payload, ctx):
        return ctx.gather(Child(kind="double", payload=1), Child(kind="double", payload=2))

    async def run():
        job = JobUnderTest(handler, child_handlers={"double": double})
        assert await job.run() == "succeeded"
        return job.result

    import asyncio

    assert asyncio.run(run()) == [2, 4]


async def test_the_first_failure_cancels_the_rest_and_fails_the_parent_for_good():
    """The error names the child and its error; no attempt of the parent is wasted."""

    async def handler(payload, ctx):
        return await ctx.map("check", payload)

    job = JobUnderTest(handler, [2, 1, 4])
    await job.run()
    job.end_child(job.children[1].job_id, error="ValueError: 1 is odd")
    assert await job.run() == "failed"
    assert job.error == f"ChildFailedError: child {job.children[1].job_id} failed: ValueError: 1 is odd"
    assert job.attempt == 1
    assert [(step.name, step.outcome) for step in job.steps] == [("~map:check", "failed")]


async def test_errors_stand_among_the_results():
    """With `return_exceptions` every child ends, and the handler goes on."""

    async def handler(payload, ctx):
        results = await ctx.map("check", payload, ChildOptions(max_attempts=1), return_exceptions=True)
        return [result if isinstance(result, int) else type(result).__name__ for result in results]

    job = JobUnderTest(handler, [2, 1, 4], child_handlers={"check": fail_on_odd})
    assert await job.run() == "succeeded"
    assert job.result == [2, "ChildFailedError", 4]


async def test_a_caught_failure_stays_in_later_attempts():
    """A step behind the group depends on the failure, so the children do not run again."""
    ran = []

    async def handler(payload, ctx):
        try:
            await ctx.map("check", payload)
        except ChildFailedError:
            await ctx.step("report", lambda: ran.append("report"))
        await ctx.sleep(timedelta(hours=1))
        return "reported"

    job = JobUnderTest(handler, [1], child_handlers={"check": fail_on_odd})
    assert await job.run() == "waiting"
    job.advance(timedelta(hours=1))
    assert await job.run() == "succeeded"
    assert ran == ["report"]


async def test_children_that_did_not_succeed_run_again_in_the_next_attempt():
    """A handler that turns the failure into a retry keeps the results of the others."""
    ran = []

    async def flaky(payload, ctx):
        ran.append(payload)
        if payload == 1 and ran.count(1) == 1:
            raise ValueError("not yet")
        return payload

    async def handler(payload, ctx):
        try:
            return await ctx.map("flaky", payload, ChildOptions(max_attempts=1))
        except ChildFailedError as error:
            raise RuntimeError("retry") from error

    job = JobUnderTest(handler, [0, 1, 2], child_handlers={"flaky": flaky})
    assert await job.run() == "succeeded"
    assert job.result == [0, 1, 2]
    assert sorted(ran) == [0, 1, 1, 2]


async def test_two_groups_at_once_and_two_of_a_kind():
    """Groups of one name are numbered by the order of the calls, as steps are."""
    import asyncio

    async def handler(payload, ctx):
        both = await asyncio.gather(ctx.map("double", [1]), ctx.map("double", [2], name="other"))
        return [*both, await ctx.map("double", [3])]

    job = JobUnderTest(handler, child_handlers={"double": double})
    assert await job.run() == "succeeded"
    assert job.result == [[2], [4], [6]]
    assert [step.name for step in job.steps] == ["~map:double", "~map:other", "~map:double#2"]


async def test_other_children_than_before_are_refused():
    """The error says where the payloads belong."""
    calls = []

    async def handler(payload, ctx):
        calls.append(1)
        return await ctx.map("double", range(len(calls)))

    job = JobUnderTest(handler)
    await job.run()
    job.end_child(job.children[0].job_id, 1)
    assert await job.run() == "failed"
    assert "group 'double': the group had 1 children" in job.error
    assert "in a step" in job.error


async def test_a_group_inside_of_a_step_is_refused():
    """The step would run again after the wait."""

    async def handler(payload, ctx):
        await ctx.step("outer", ctx.map, "double", [1])

    job = JobUnderTest(handler)
    assert await job.run() == "failed"
    assert "inside of step 'outer'" in job.error


@pytest.mark.parametrize(("options", "field"), [({"key": "x"}, "key"), ({"after": (JobId("a"),)}, "after")])
async def test_options_that_a_group_excludes_are_named(options, field):
    """A key is the queue's part here, and an order among the children is none of a group."""

    async def handler(payload, ctx):
        await ctx.map("double", [1], ChildOptions(**options))

    job = JobUnderTest(handler)
    assert await job.run() == "failed"
    assert f"no option {field!r}" in job.error


async def test_too_many_children_are_refused():
    """The refusal comes before any child is submitted."""

    async def handler(payload, ctx):
        await ctx.map("double", range(10_001))

    job = JobUnderTest(handler)
    assert await job.run() == "failed"
    assert "10001 children are more than 10000" in job.error
    assert job.children == []


def test_ids_of_children_fit_for_any_parent():
    """The id of a child names its parent, as long as it stays an id."""
    parent = lease(job_id=JobId("p" * 128), token=LeaseToken(1))
    group = Group(lease=parent, name="ab" * 8, requests=[None], policy=GroupPolicy())
    assert len(group.child_id(9_999)) < 128
    short = Group(lease=lease(), name="ab" * 8, requests=[None], policy=GroupPolicy())
    assert short.child_id(7) == f"job-1:{'ab' * 8}:7"


@pytest.mark.parametrize("field", ["delay_seconds", "timeout_seconds"])
@pytest.mark.parametrize("value", [float("nan"), 1e306, "5", -1])
async def test_a_time_of_a_child_that_is_no_time_is_refused_by_name(field, value):
    """The error of the parent has the field and the value; no child starts."""

    async def handler(payload, ctx):
        await ctx.map("double", [1], ChildOptions(**{field: value}))

    job = JobUnderTest(handler)
    await job.run()
    assert f"{field}: {value!r}: not a number of seconds" in job.error
    assert not job.children
