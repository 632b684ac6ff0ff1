"""Reports of usage by handlers, without Redis."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agentpool_core.errors import BudgetExceededError, InvalidJobError
from agentpool_core.queue.usage import UsageReport
from agentpool_worker import App
from agentpool_worker.slots.semaphore import Slots
from agentpool_worker.telemetry.metrics import WorkerMetrics
from agentpool_worker.testing import JobUnderTest
from tests.unit.worker.fakes import Bench, lease


async def call(ctx):
    await ctx.usage(input_tokens=100, output_tokens=20, cost=0.1, model="large")


async def test_usage_of_a_finished_step_is_reported_once():
    """A later run takes the step from the store, and reports only what it does again."""

    async def handler(payload, ctx):
        await ctx.step("call", call, ctx)
        await ctx.usage(cost=1)
        await ctx.step("end", str)

    job = JobUnderTest(handler)
    assert await job.run(kill_after=["call", "end"]) == "succeeded"
    large = UsageReport(model="large", input_tokens=100, output_tokens=20, cost=0.1)
    assert job.usage == [large, UsageReport(cost=1.0), UsageReport(cost=1.0)]


async def test_a_sync_handler_reports_usage():
    """The call blocks, as every call of the sync context."""
    job = JobUnderTest(lambda payload, ctx: ctx.usage(input_tokens=1))
    assert await job.run() == "succeeded"
    assert job.usage == [UsageReport(input_tokens=1)]


async def test_reports_of_one_turn_share_a_write():
    """Numbers continue from write to write."""
    from asyncio import gather

    app = App()

    @app.handler("work")
    async def work(payload, ctx):
        await gather(*(ctx.usage(input_tokens=n) for n in (1, 2, 3)))
        await ctx.usage(input_tokens=4)

    async with Bench(app) as bench:
        bench.submit(lease())
        await bench.settled(1)
    assert [call for call in bench.queue.calls if call[0] == "usage"] == [("usage", 3, 0), ("usage", 1, 0)]
    assert [(number, report.input_tokens) for number, report in bench.queue.used] == [(1, 1), (2, 2), (3, 3), (4, 4)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_tokens", -1),
        ("output_tokens", 1.5),
        ("output_tokens", True),
        ("cost", float("nan")),
        ("cost", Decimal("NaN")),
        ("cost", Decimal("sNaN")),
        ("cost", -0.1),
        ("cost", "1"),
        ("cost", 1e7),
        ("model", "x" * 129),
        ("model", "two\nlines"),
        ("model", 5),
    ],
)
async def test_a_bad_value_is_refused_by_name(field, value):
    """Nothing is stored, and the error has the field and a remedy."""
    seen = []

    async def handler(payload, ctx):
        with pytest.raises(InvalidJobError) as refused:
            await ctx.usage(**{field: value})
        seen.append(refused.value)

    job = JobUnderTest(handler)
    assert await job.run() == "succeeded"
    assert seen[0].detail.startswith(field)
    assert seen[0].remedy
    assert job.usage == []


def test_a_cost_is_counted_in_exact_billionths():
    """Floats and decimals give the same whole numbers."""
    assert UsageReport(cost=0.1).cost_billionths == 100_000_000
    assert UsageReport(cost=0.000_000_05).cost_billionths == 50
    assert UsageReport(cost=float(Decimal("1.1"))).cost_billionths == 1_100_000_000


def test_series_of_usage_are_bounded():
    """After 50 pairs of kind and model, further pairs share a series; sums stay exact."""
    metrics = WorkerMetrics(Slots(1))
    for number in range(60):
        metrics.record_usage("plan", [UsageReport(model=f"m{number}", input_tokens=2, output_tokens=1, cost=0.1)])
    metrics.record_usage("plan", [UsageReport(model="m0", cost=0.2)])
    value = metrics.registry.get_sample_value
    assert value("agentpool_worker_tokens_total", {"kind": "plan", "model": "m0", "direction": "input"}) == 2
    assert value("agentpool_worker_tokens_total", {"kind": "other", "model": "other", "direction": "output"}) == 10
    assert value("agentpool_worker_cost_total", {"kind": "plan", "model": "m0"}) == 0.3
    assert value("agentpool_worker_cost_total", {"kind": "other", "model": "other"}) == 1.0


async def test_a_spent_budget_defers_the_job_to_the_next_window():
    """The error passes through a step, and costs no attempt; the report replaces the reservation."""

    async def call(ctx):
        await ctx.charge(0.6)
        await ctx.usage(cost=0.4)
        return "called"

    async def handler(payload, ctx):
        return [await ctx.step(name, call, ctx) for name in ("one", "two", "three")]

    job = JobUnderTest(handler, budget=1.0)
    assert await job.run() == "waiting"
    assert [step.name for step in job.steps] == ["one", "two"]
    job.advance(86_400)
    assert await job.run() == "succeeded"
    assert (job.attempt, len(job.usage), job.result) == (1, 3, ["called"] * 3)


async def test_a_handler_may_take_a_cheaper_way():
    """The caught error says what is left; a call that no window can pay fails the job for good."""

    async def handler(payload, ctx):
        with pytest.raises(BudgetExceededError) as refused:
            await ctx.charge(3)
        assert (refused.value.left, refused.value.fits_never) == (1.0, True)
        await ctx.charge(0.5)
        return await ctx.step("dear", ctx.charge, 3)

    job = JobUnderTest(handler, budget=1.0, max_attempts=5)
    assert await job.run() == "failed"
    assert (job.attempt, "the call costs 3; make a cheaper call" in job.error) == (1, True)


async def test_reports_replace_reservations_in_order():
    """A report without a cost replaces none: its call may be billed as reserved."""
    app = App()

    @app.handler("work")
    def work(payload, ctx):
        ctx.charge(2)
        ctx.charge(3)
        ctx.usage(input_tokens=5)
        ctx.usage(cost=1)
        ctx.usage(cost=0)
        ctx.usage(cost=7)

    async with Bench(app) as bench:
        bench.submit(lease())
        await bench.settled(1)
    in_units = [reserved / 1_000_000_000 for reserved in bench.queue.reserved]
    assert in_units == [2, 3, 0, -2, -3, 0]
    assert [number for number, _ in bench.queue.used] == [3, 4, 5, 6]
