"""Usage of models: each report counts once, under the lease, in exact totals."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from agentpool_core.client import Client
from agentpool_core.errors import InvalidJobError, StaleLeaseError
from agentpool_core.jobs import JobRequest, Usage
from agentpool_core.queue import Inspector, Producer
from agentpool_core.queue.completions import Failed, Returned, ReturnReason, Succeeded
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.usage import UsageReport
from agentpool_core.queue.usage_totals import MOST_DAYS, MOST_ROWS, OTHERS, UsageQuery


@pytest.fixture
def claim(redis, pool, consumer):
    async def claim(**request):
        await Producer(redis, pool).submit(JobRequest(**{"kind": "x", **request}))
        (lease,) = await consumer.claim(1)
        return lease

    return claim


def report(cost=0.1, **fields):
    return UsageReport(cost=cost, **fields)


async def test_a_job_has_the_exact_total_of_all_attempts(redis, pool, consumer, claim):
    """Ten dimes are a unit; the totals stay with a requeue, a failure and a replay."""
    lease = await claim(max_attempts=1)
    assert (await Inspector(redis).job(pool, lease.job_id)).usage == Usage()
    await consumer.use(lease, 1, [report(input_tokens=10, output_tokens=2)] * 4)
    await consumer.settle([Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.DRAIN)])
    (lease,) = await consumer.claim(1)
    await consumer.use(lease, 1, [report(input_tokens=10)] * 3)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="no")])
    await Inspector(redis).replay(pool, lease.job_id)
    (lease,) = await consumer.claim(1)
    await consumer.use(lease, 1, [report(model="large")])
    await consumer.use(lease, 2, [report(model="large"), report()])
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    usage = (await Inspector(redis).job(pool, lease.job_id)).usage
    assert usage == Usage(calls=10, input_tokens=70, output_tokens=8, cost_billionths=1_000_000_000)
    assert usage.cost == 1.0


async def test_a_repeated_call_adds_each_report_once(redis, pool, consumer, claim):
    """The answer was lost; some or none of the reports are new."""
    lease = await claim()
    await consumer.use(lease, 1, [report(1), report(2)])
    await consumer.use(lease, 1, [report(1), report(2)])
    await consumer.use(lease, 2, [report(2), report(4)])
    assert (await Inspector(redis).job(pool, lease.job_id)).usage.cost == 7.0


async def test_a_lost_lease_adds_nothing(redis, pool, consumer, claim):
    """The former holder of the job is refused."""
    old = await claim()
    await consumer.settle([Returned(job_id=old.job_id, token=old.token, reason=ReturnReason.DRAIN)])
    await consumer.claim(1)
    with pytest.raises(StaleLeaseError):
        await consumer.use(old, 1, [report()])
    assert (await Inspector(redis).job(pool, old.job_id)).usage == Usage()


async def test_a_day_has_exact_totals_by_tenant_kind_and_model(redis, pool, consumer, claim):
    """Rows of the query's columns add up to the same total; the highest cost is first."""
    for tenant, kind, model, cost in (
        ("acme", "plan", "large", 0.1), ("acme", "plan", "small", 0.2), ("acme", "write", "large", 0.3),
        (None, "plan", "large", 5), ("other|s", "plan", "", 0.000000001),
    ):  # fmt: skip
        lease = await claim(kind=kind, tenant=tenant)
        await consumer.use(lease, 1, [report(cost, model=model, input_tokens=10, output_tokens=1)] * 2)
        await consumer.use(lease, 1, [report(cost, model=model, input_tokens=10, output_tokens=1)] * 2)  # repeated
    client = Client(redis, pool=pool)
    totals = await client.usage()
    assert [(row.tenant, row.kind, row.usage.cost) for row in totals.rows] == [
        ("", "plan", 10), ("acme", "plan", 0.6), ("acme", "write", 0.6), ("other|s", "plan", 0.000000002),
    ]  # fmt: skip
    assert totals.total == Usage(10, 100, 10, 11_200_000_002)
    by_model = await client.usage(by=("model",), tenant="acme", days=1)
    assert [(row.model, row.usage.cost) for row in by_model.rows] == [("large", 0.8), ("small", 0.4)]
    today = totals.last_day
    assert abs((today - datetime.now(UTC).date()).days) <= 1
    assert (await client.usage(day=today, by=("day",))).rows[0].day == today
    assert (await client.usage(day=today - timedelta(days=1))).rows == ()
    assert (await client.usage(kind="no-such")).total == Usage()


async def test_the_rows_of_a_day_are_bounded_and_the_sum_stays_exact(redis, pool, consumer, claim):
    """Further combinations share a row; a combination that has a row keeps it. Days leave after two months."""
    lease = await claim(tenant="first")
    await consumer.use(lease, 1, [report(1, model="m")])
    today = (await Client(redis, pool=pool).usage()).last_day
    key = Keys(pool).usage(today)
    await redis.hset(key, mapping={f"t{number}\nx\nm": "1 0 0 0" for number in range(MOST_ROWS - 1)})
    await consumer.use(lease, 2, [report(1, model="m"), report(1, model="new"), report(1, model="newer")])
    totals = await Client(redis, pool=pool).usage()
    assert totals.total.cost == 4
    assert [(row.tenant, row.kind, row.usage.cost) for row in totals.rows[:2]] == [("", OTHERS, 2), ("first", "x", 2)]
    assert await redis.hlen(key) == MOST_ROWS + 1
    assert 0 < await redis.ttl(key) <= MOST_DAYS * 86_400


async def test_a_purged_pool_keeps_no_usage(redis, pool, consumer, claim):
    """No key of the pool stays."""
    await consumer.use(await claim(), 1, [report()])
    await Inspector(redis).purge(pool)
    assert await redis.keys(f"{Keys(pool).prefix}usage:*") == []


async def test_a_foreign_field_of_a_day_hides_no_other(redis, pool, consumer, claim):
    """An unreadable row is left out; an unreadable total of a job is shown as its text."""
    lease = await claim()
    await consumer.use(lease, 1, [report(2)])
    key = Keys(pool).usage((await Client(redis, pool=pool).usage()).last_day)
    await redis.hset(key, mapping={"a": "b", "a\nb\nc": "x", "a\nb\nc\nd": "1 1 1 1"})
    await redis.hset(Keys(pool).job(lease.job_id), "usage", "many")
    assert (await Client(redis, pool=pool).usage()).total.cost == 2
    job = await Inspector(redis).job(pool, lease.job_id)
    assert (job.usage, dict(job.undecodable)) == (Usage(), {"usage": "many"})
    await consumer.use(lease, 2, [report(3)])
    assert (await Inspector(redis).job(pool, lease.job_id)).usage.cost == 3


@pytest.mark.parametrize("wrong", [{"days": 0}, {"days": MOST_DAYS + 1}, {"by": ("colour",)}])
def test_a_query_that_no_row_can_answer_is_refused(wrong):
    """The error names the field."""
    with pytest.raises(InvalidJobError, match=next(iter(wrong))):
        UsageQuery(**wrong)


def test_a_day_has_a_key_by_its_number(pool):
    """The script computes the same number of the day."""
    assert Keys(pool).usage(date(2026, 11, 28)).endswith("usage:20785")
