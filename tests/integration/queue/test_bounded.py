"""Work over many or large jobs proceeds in parts: each script is short, and no work is lost between two parts."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import AfterCondition, JobId, JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer
from agentpool_core.queue.audit import audit
from agentpool_core.queue.completions import CancelOutcome, Failed, SettleOutcome, Succeeded
from agentpool_core.queue.keys import Keys

MANY = 450  # children: more than two parts
LARGE = "x" * 1_000_000
LARGE_JOBS = 10  # more than one reply holds


@pytest.fixture
async def ground(redis, pool):
    """Producer, registered consumer and inspector of a pool that retries at once."""
    await Inspector(redis).configure(pool, PoolSettings(retry_initial_ms=1, retry_max_ms=1))
    consumer = Consumer(redis, pool, WorkerId("w1"))
    await consumer.register(slots=1_000, host="here")
    return Producer(redis, pool), consumer, Inspector(redis)


async def family(producer, count=MANY, **fields) -> JobId:
    """Submit a parent and its children; return the parent."""
    parent = (await producer.submit(JobRequest(kind="parent"))).job_id
    await producer.submit_many([JobRequest(kind="child", after=(parent,), **fields) for _ in range(count)])
    return parent


async def maintain(consumer) -> int:
    """Run maintenance until no work is due; return the number of rounds."""
    rounds = 1
    while (await consumer.maintain()).next_due_ms == 0:
        rounds += 1
    return rounds


async def settle_one(consumer, make, **fields) -> SettleOutcome:
    """Claim a job and end its attempt."""
    (lease,) = await consumer.claim(1)
    (outcome,) = await consumer.settle([make(job_id=lease.job_id, token=lease.token, **fields)])
    return outcome


async def test_many_jobs_expire_in_parts_at_once(redis, pool, ground):
    """The maintenance goes on while more jobs have expired."""
    producer, consumer, inspector = ground
    await producer.submit_many([JobRequest(kind="k", ttl_ms=1_000) for _ in range(MANY)])
    await redis.hset(Keys(pool).counters, "clock_offset_ms", 2_000)
    assert await maintain(consumer) > 1
    assert (await inspector.snapshot(pool)).queued == 0


async def test_many_children_are_released_in_parts_each_once(redis, pool, ground):
    """The end of the parent releases a first part; maintenance releases the rest and deletes the set."""
    producer, consumer, inspector = ground
    parent = await family(producer)
    await settle_one(consumer, Succeeded, result="r")
    first = await inspector.snapshot(pool)
    assert 0 < first.queued < MANY
    assert first.blocked == MANY - first.queued
    assert await audit(redis, pool) == []
    assert await maintain(consumer) > 1
    snapshot = await inspector.snapshot(pool)
    assert (snapshot.queued, snapshot.blocked) == (MANY, 0)
    leases = await consumer.claim(MANY)
    assert len({lease.job_id for lease in leases}) == MANY
    assert {tuple(lease.parents.items()) for lease in leases} == {((parent, "r"),)}
    keys = Keys(pool)
    assert await redis.exists(keys.releasing, keys.kids(parent)) == 0


async def test_a_large_result_reaches_fewer_children_at_a_time(pool, ground):
    """A script copies a bounded number of bytes: each call passes a result of a megabyte to a few children."""
    producer, consumer, inspector = ground
    await family(producer, 30)
    await settle_one(consumer, Succeeded, result=LARGE)
    assert 0 < (await inspector.snapshot(pool)).queued <= 5
    await maintain(consumer)
    assert (await inspector.snapshot(pool)).queued == 30


async def test_a_long_chain_is_cancelled_in_parts(redis, pool, ground):
    """Every link is cancelled with its reason before the call returns, although no worker maintains the pool."""
    producer, _, inspector = ground
    chain = [JobRequest(kind="link", job_id=JobId("link-0"))]
    chain += [
        JobRequest(kind="link", job_id=JobId(f"link-{number}"), after=(JobId(f"link-{number - 1}"),))
        for number in range(1, MANY)
    ]
    await producer.submit_many(chain)
    assert await producer.cancel(JobId("link-0")) is CancelOutcome.CANCELLED
    last = await inspector.job(pool, JobId(f"link-{MANY - 1}"))
    assert last.state is JobState.CANCELLED
    assert last.reason.startswith("upstream: job ")
    snapshot = await inspector.snapshot(pool)
    assert (snapshot.blocked, snapshot.queued, snapshot.finished_total) == (0, 0, MANY)
    assert await audit(redis, pool) == []


async def test_children_of_a_replayed_parent_wait_again(pool, ground):
    """A failed parent is replayed during the cancellation of its children: the rest waits, and runs with its result."""
    producer, consumer, inspector = ground
    parent = await family(producer)
    await settle_one(consumer, Failed, error="x", retry=False)
    left = (await inspector.snapshot(pool)).blocked
    assert 0 < left < MANY
    await inspector.replay(pool, parent)
    await maintain(consumer)
    assert (await inspector.snapshot(pool)).blocked == left
    await settle_one(consumer, Succeeded, result="r")
    await maintain(consumer)
    snapshot = await inspector.snapshot(pool)
    assert (snapshot.blocked, snapshot.queued) == (0, left)


async def test_children_of_a_parent_without_a_record_do_not_wait_for_ever(redis, pool, ground):
    """The record of a parent may expire or be evicted before its last child is released."""
    producer, consumer, inspector = ground
    parent = await family(producer)
    await settle_one(consumer, Succeeded, result="r")
    released = (await inspector.snapshot(pool)).queued
    await redis.delete(Keys(pool).job(parent))
    await maintain(consumer)
    snapshot = await inspector.snapshot(pool)
    assert (snapshot.blocked, snapshot.queued) == (0, released)


async def test_children_that_run_whatever_happens_are_all_released(pool, ground):
    """`after_condition: finished` holds in every part."""
    producer, consumer, inspector = ground
    await family(producer, after_condition=AfterCondition.FINISHED)
    await settle_one(consumer, Failed, error="x", retry=False)
    await maintain(consumer)
    assert (await inspector.snapshot(pool)).queued == MANY


async def test_a_claim_of_large_jobs_returns_a_part_and_keeps_the_order(redis, pool, ground):
    """Jobs beyond the limit keep their places, cancelled jobs between them leave, and the counters stay true."""
    producer, consumer, inspector = ground
    receipts = await producer.submit_many([JobRequest(kind="k", payload=LARGE) for _ in range(LARGE_JOBS)])
    ids = [receipt.job_id for receipt in receipts]
    await producer.cancel(ids.pop(6))
    first = await consumer.claim(LARGE_JOBS)
    assert 0 < len(first) < LARGE_JOBS
    snapshot = await inspector.snapshot(pool)
    assert (snapshot.running, snapshot.queued) == (len(first), len(ids) - len(first))
    assert await audit(redis, pool) == []
    claimed = first
    while more := await consumer.claim(LARGE_JOBS):
        claimed = claimed + more
    assert [lease.job_id for lease in claimed] == ids
    assert (await inspector.snapshot(pool)).queued == 0
    assert await audit(redis, pool) == []


async def test_large_results_are_settled_in_several_calls(pool, ground):
    """Outcomes have the order of the completions, for any number of calls."""
    producer, consumer, inspector = ground
    await producer.submit_many([JobRequest(kind="k") for _ in range(LARGE_JOBS)])
    leases = await consumer.claim(LARGE_JOBS)
    done = [Succeeded(job_id=lease.job_id, token=lease.token, result=LARGE) for lease in leases]
    done[3] = Succeeded(job_id=leases[3].job_id, token=leases[3].token + 1, result=LARGE)
    await producer.submit(JobRequest(kind="next"))
    outcomes, claimed = await consumer.exchange(done, 1)
    assert [place for place, outcome in enumerate(outcomes) if outcome is SettleOutcome.STALE] == [3]
    assert len(outcomes) == LARGE_JOBS
    assert [lease.kind for lease in claimed] == ["next"]
    assert (await inspector.snapshot(pool)).running == 2


async def test_a_failure_reported_again_after_its_retry_is_due_is_no_lost_lease(pool, ground):
    """The worker lost the answer; the job has become ready again before the second report."""
    producer, consumer, _ = ground
    await producer.submit(JobRequest(kind="k"))
    (lease,) = await consumer.claim(1)
    failed = Failed(job_id=lease.job_id, token=lease.token, error="x", retry_after_ms=0)
    assert await consumer.settle([failed]) == [SettleOutcome.RETRYING]
    await maintain(consumer)
    assert await consumer.settle([failed]) == [SettleOutcome.RETRYING]


async def test_a_failure_of_a_recovered_job_is_stale(redis, pool, ground):
    """The lease was lost before the report: the queue starts the next attempt in any case."""
    producer, consumer, _ = ground
    await producer.submit(JobRequest(kind="k"))
    (lease,) = await consumer.claim(1)
    await consumer.report_crash("signal 9")
    late = Consumer(redis, pool, consumer.worker)
    failed = Failed(job_id=lease.job_id, token=lease.token, error="x")
    assert await late.settle([failed]) == [SettleOutcome.STALE]
