"""Usage of models: each report counts once, under the lease, in exact totals."""

from __future__ import annotations

import pytest

from agentpool_core.errors import StaleLeaseError
from agentpool_core.jobs import JobRequest, Usage, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer
from agentpool_core.queue.completions import Failed, Returned, ReturnReason, Succeeded
from agentpool_core.queue.usage import UsageReport


@pytest.fixture
async def consumer(redis, pool):
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=5, host="h")
    return consumer


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
