"""Budgets: no job starts once the money of a window is spent, and no reserved call overspends it."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.errors import BudgetExceededError, StaleLeaseError, UnknownLimitError
from agentpool_core.jobs import JobState
from agentpool_core.pending_reason import pending_reason
from agentpool_core.queue import Budget, Limit, LimitBy, Rate
from agentpool_core.queue.completions import Returned, ReturnReason, Waiting
from agentpool_core.queue.limits import DAY_MS
from agentpool_core.queue.overrides import Override, override, overrides
from agentpool_core.queue.settings import BILLION
from agentpool_core.queue.usage import UsageReport
from tests.integration.queue.test_limits import Pool, done, ids

TEAM = Limit(name="team", by=LimitBy.TENANT, budget=Budget(amount=10))
WHOLE = Limit(name="whole", budget=Budget(amount=10, window_ms=3_600_000))


@pytest.fixture
async def limited(redis, pool):
    limited = Pool(redis, pool)
    await limited.limit(TEAM)
    # The clock of the pool stands at the beginning of a window, so no test crosses an end by chance.
    now_ms = int((await redis.time())[0]) * 1000
    await limited.pass_time(DAY_MS - now_ms % DAY_MS + 1_000)
    return limited


async def next_window(limited, ms=DAY_MS):
    """Pass to the next window; return a new worker, because the lease of the former one has ended."""
    await limited.pass_time(ms)
    return await limited.worker("later")


async def spend(worker, lease, cost, *, first=1, reserved=0):
    await worker.use(lease, first, [UsageReport(cost=cost)], reserved=round(reserved * BILLION))


async def charge(worker, lease, cost, *, number=1):
    await worker.charge(lease, number, round(cost * BILLION))


async def test_a_spent_budget_starts_no_further_job_of_its_tenant(limited):
    """A running job continues, other tenants start, the pending reason is shown, and the next window starts the job."""
    acme = await limited.submit(3, tenant="acme")
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    await spend(worker, lease, 9.5)
    (second,) = await worker.claim(1)
    await spend(worker, second, 0.5)
    other = await limited.submit(1, tenant="other")
    assert ids(await worker.claim(10)) == other
    job, snapshot = await limited.job(acme[2]), await limited.snapshot()
    assert job.held_by == "team"
    reason = pending_reason(job, snapshot)
    assert "limit 'team' of a budget of 10 in 86400 s for the tenant 'acme': 10 of 10 is spent" in reason
    assert "the next window begins in 23h" in reason
    assert (job.budget.limit, job.budget.amount, job.budget.spent) == ("team", 10, 10.0)
    assert job.budget.resets_at_ms % DAY_MS == 0
    assert 0 < job.budget.resets_at_ms - snapshot.taken_at_ms <= DAY_MS
    assert (snapshot.queued, snapshot.held, snapshot.due) == (0, 1, 0)
    await worker.settle([done(lease), done(second)])
    assert await worker.claim(10) == []
    worker = await next_window(limited)
    assert (await limited.snapshot()).due == 1
    assert (await limited.job(acme[2])).budget is None  # the job is held no longer than until the next claim
    assert ids(await worker.claim(10)) == acme[2:]
    assert await limited.holds_nothing()


async def test_a_budget_of_all_jobs_is_the_reason_of_the_jobs_behind_it(limited):
    """Its jobs wait in their streams, and are not about to start."""
    await limited.limit(WHOLE)
    _, second = await limited.submit(2)
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    await spend(worker, lease, 12.5)
    assert await worker.claim(1) == []
    reason = pending_reason(await limited.job(second), await limited.snapshot())
    assert (
        "the limit 'whole' of a budget of 10 in 3600 s: 12.5 of 10 is spent, and the next window begins in 59m"
        in reason
    )


async def test_a_reserved_call_never_overspends(limited):
    """A refused reservation spends nothing; the report replaces the reservation by the real cost."""
    await limited.submit(2, tenant="acme")
    worker = await limited.worker()
    one, two = await worker.claim(2)
    await charge(worker, one, 6)
    with pytest.raises(BudgetExceededError, match="budget 'team': 4 of 10 is left, and the call costs 5") as refused:
        await charge(worker, two, 5)
    assert (refused.value.left, refused.value.fits_never) == (4, False)
    assert 0 < refused.value.next_window_ms <= DAY_MS
    await charge(worker, two, 4)
    with pytest.raises(BudgetExceededError):
        await charge(worker, one, 0, number=2)
    await spend(worker, one, 1.5, first=2, reserved=6)
    await charge(worker, two, 4.5, number=2)
    with pytest.raises(BudgetExceededError) as refused:
        await charge(worker, two, 10.5, number=3)
    assert refused.value.fits_never


async def test_a_repeated_call_counts_once_and_a_lost_lease_never(limited):
    """The answer was lost, or the job runs elsewhere."""
    await limited.submit(1, tenant="acme")
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    for _ in range(3):
        await charge(worker, lease, 4, number=1)
    for _ in range(3):
        await spend(worker, lease, 5, first=2, reserved=4)
    await charge(worker, lease, 5, number=3)
    await worker.settle([Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.DRAIN)])
    assert await worker.claim(1) == []
    for call in (charge(worker, lease, 1, number=4), spend(worker, lease, 1, first=4)):
        with pytest.raises(StaleLeaseError):
            await call


async def test_money_that_was_not_spent_starts_the_next_job(limited):
    """A report below its reservation opens the budget for the jobs that wait; one of a later window gives nothing."""
    first, second = await limited.submit(2, tenant="acme")
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    assert lease.job_id == first
    await charge(worker, lease, 10)
    assert await worker.claim(1) == []
    await spend(worker, lease, 1, first=2, reserved=10)
    (other,) = await worker.claim(1)
    assert other.job_id == second
    await charge(worker, lease, 9, number=3)
    await limited.pass_time(DAY_MS)
    await spend(worker, lease, 2, first=4, reserved=9)
    await charge(worker, other, 10)
    with pytest.raises(BudgetExceededError):
        await charge(worker, other, 0, number=2)


@pytest.mark.parametrize("reserves", [True, False])
async def test_a_thousand_parallel_jobs_end_at_the_budget(limited, reserves):
    """With a reservation of the cost exactly at the budget; with a bare check at one call for each running job more."""
    amount, call, jobs = 300, 1.5, 1_000
    await limited.limit(Limit(name="team", by=LimitBy.TENANT, budget=Budget(amount=amount)))
    await limited.submit(jobs + 50, tenant="acme")
    worker = await limited.worker()
    leases = []
    while len(leases) < jobs:
        leases += await worker.claim(jobs - len(leases))

    async def run(lease):
        """Call a model three times, as a handler would, until the budget refuses; return what the calls have cost."""
        number = spent = 0
        for _ in range(3):
            try:
                await charge(worker, lease, call if reserves else 0, number=number + 1)
            except BudgetExceededError:
                break
            await spend(worker, lease, call, first=number + 2, reserved=call if reserves else 0)
            number, spent = number + 2, spent + call
        return spent

    spent = sum(await asyncio.gather(*map(run, leases)))
    assert spent == amount if reserves else amount <= spent <= amount + jobs * call
    assert await worker.claim(50) == []


async def test_a_budget_over_whole_routes_leaves_its_jobs_in_the_stream(limited):
    """No worker can start the jobs; the operator sees no free start, and any number as soon as money is left."""
    await limited.limit(WHOLE)
    await limited.submit(3)
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    assert [limit.free for limit in (await limited.snapshot()).limits] == [None]
    await charge(worker, lease, 10)
    assert await worker.claim(5) == []
    snapshot = await limited.snapshot()
    assert ([limit.free for limit in snapshot.limits], snapshot.queued, snapshot.held) == ([0], 2, 0)
    await worker.settle([done(lease)])
    worker = await next_window(limited, WHOLE.budget.window_ms)
    assert (await limited.snapshot()).due == 1
    assert len(await worker.claim(5)) == 2
    assert (await limited.snapshot()).due == 0


async def test_a_tenant_may_have_a_budget_of_its_own(limited, redis, pool):
    """The override applies at once, to jobs that wait too; the measure must be that of the limit."""
    await limited.submit(2, tenant="acme")
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    await charge(worker, lease, 10)
    assert await worker.claim(1) == []
    await override(redis, pool, "team", "acme", Budget(amount=50))
    assert await overrides(redis, pool) == [Override(limit="team", subject="acme", bound=Budget(amount=50))]
    assert len(await worker.claim(1)) == 1
    await charge(worker, lease, 40, number=2)
    (held,) = await limited.submit(1, tenant="acme")
    assert await worker.claim(1) == []
    budget = (await limited.job(held)).budget
    assert (budget.spent, budget.amount) == (50, 50)
    for bound in (5, Rate(count=1, period_ms=1_000)):
        with pytest.raises(UnknownLimitError, match="team tenant budget"):
            await override(redis, pool, "team", "acme", bound)
    assert await override(redis, pool, "team", "acme", None)


async def test_a_job_that_waits_for_the_next_window_comes_back(limited):
    """As a worker settles a job whose handler lets the error pass: no attempt counts."""
    (job_id,) = await limited.submit(1, tenant="acme")
    worker = await limited.worker()
    (lease,) = await worker.claim(1)
    await charge(worker, lease, 10)
    with pytest.raises(BudgetExceededError) as refused:
        await charge(worker, lease, 1, number=2)
    left_ms, budget = refused.value.next_window_ms, refused.value.budget
    await worker.settle([Waiting(job_id=job_id, token=lease.token, after_ms=left_ms, budget=budget)])
    waiting = await limited.job(job_id)
    assert (waiting.state, waiting.held_by) == (JobState.WAITING, "team")
    assert (waiting.waits_for, waiting.waits_for_children) == ((), False)
    worker = await next_window(limited)
    await worker.maintain()
    (again,) = await worker.claim(1)
    assert (again.job_id, again.attempt) == (job_id, 1)
