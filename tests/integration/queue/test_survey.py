"""The demand before any claim: jobs that limits of keys, tenants and kinds will hold need no worker."""

from __future__ import annotations

import pytest

from agentpool_core.demand_documents import demand_document
from agentpool_core.jobs import Priority
from agentpool_core.queue import Budget, Limit, LimitBy, PoolSettings, Rate, RateUnit, Route
from agentpool_core.queue.surveys import SAMPLE
from agentpool_core.queue.usage import UsageReport
from tests.integration.queue.test_limits import Pool, done

PER_KEY = Limit(name="per-key", by=LimitBy.KEY, max_running=2)
HOUR_MS = 3_600_000


async def demand(limited) -> int:
    """Return the jobs that run or may start, as the operator and other autoscalers count them."""
    snapshot = await limited.inspector.surveyed(limited.ref, await limited.snapshot())
    return demand_document(snapshot, PoolSettings(), limited.ref)["jobs"]


@pytest.fixture
async def limited(redis, pool):
    return Pool(redis, pool)


async def test_jobs_of_a_full_key_need_no_worker_before_any_claim(limited):
    """Neither without workers nor while all slots are busy; jobs of other keys and without a key do."""
    await limited.limit(PER_KEY)
    await limited.submit(500, limit_key="acme")
    assert await demand(limited) == 2
    await limited.submit(1, limit_key="zeta")
    await limited.submit(3, priority=Priority.INFO)
    assert await demand(limited) == 6
    busy = await limited.worker()
    assert len(await busy.claim(1)) == 1
    await busy.renew(slots=1, running=1)
    assert await demand(limited) == 6


async def test_a_backlog_beyond_the_sample_is_taken_to_be_like_it(limited):
    """Jobs behind the first thousands are met, too, and the room of a key is not multiplied."""
    await limited.limit(PER_KEY)
    await limited.submit(SAMPLE, limit_key="acme")
    assert await demand(limited) == 2
    for _ in range(SAMPLE // 10):  # mixed, because the sample is spread over time, and a slow machine submits in bursts
        await limited.submit(20, limit_key="acme")
        await limited.submit(10)
    assert SAMPLE / 10 < await demand(limited) < 3 * SAMPLE


@pytest.mark.parametrize("tenant", [None, "acme"])
async def test_each_measure_holds_jobs_back(limited, tenant):
    """Rates of starts and tokens, budgets, and kinds, also for jobs in the lines of tenants."""
    routes = (Route(name="r", kinds=("k", "t", "b"), tokens=400),)
    await limited.limit(
        Limit(name="starts", kinds=("k",), rate=Rate(count=10, period_ms=HOUR_MS, burst=3)),
        Limit(
            name="tokens", kinds=("t",), rate=Rate(count=1_000, period_ms=HOUR_MS, burst=1_000, unit=RateUnit.TOKENS)
        ),
        Limit(name="money", kinds=("b",), budget=Budget(amount=1)),
        routes=routes,
    )
    for kind in ("k", "t"):
        await limited.submit(20, kind=kind, tenant=tenant)
    assert await demand(limited) == 3 + 2
    await limited.submit(20, kind="b", tenant=tenant)
    assert await demand(limited) == 3 + 2 + 20
    worker = await limited.worker()
    leases = await worker.claim(60)
    (spender, *_) = [lease for lease in leases if lease.kind == "b"]
    await worker.use(spender, 1, [UsageReport(cost=1)])
    await worker.settle([done(lease) for lease in leases])
    await limited.redis.zadd(f"{limited.prefix}workers", {"w1": 1})
    for kind in ("k", "t", "b"):
        await limited.submit(5, kind=kind, tenant=tenant)
    assert await demand(limited) <= 1  # a limit that opens is work for a worker
