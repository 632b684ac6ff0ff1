"""Contradictions between a pool's keys: the audit reports each, and both audit repair and maintenance resolve each."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import AfterCondition, JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, Route
from agentpool_core.queue.audit import Contradiction, Disagreement, audit
from agentpool_core.queue.completions import Failed, SettleOutcome, Succeeded

LEASE_MS = 10_000
TIMEOUT_MS = 60_000
LONG_MS = 600_000
MANY = 1_200  # more than one part of an audit


class Ground:
    """A pool, and the changes that a test makes to its keys."""

    def __init__(self, redis, pool) -> None:
        self.redis = redis
        self.pool = pool
        self.prefix = f"ap:{{{pool}}}:"
        self.producer = Producer(redis, pool)
        self.inspector = Inspector(redis)

    async def worker(self, name="w1", slots=5_000) -> Consumer:
        consumer = Consumer(self.redis, self.pool, WorkerId(name))
        await consumer.register(slots=slots, host="h")
        await consumer.claim(0)
        return consumer

    async def submit(self, count=1, **fields):
        requests = [JobRequest(**{"kind": "k", **fields})] * count
        return [receipt.job_id for receipt in await self.producer.submit_many(requests)]

    async def evict(self, *names) -> None:
        await self.redis.delete(*(self.prefix + name for name in names))

    async def state(self, job_id) -> str:
        return (await self.inspector.job(self.pool, job_id)).state

    async def pass_time(self, ms: int, *staying: Consumer) -> None:
        """Advance the clock; the named workers have renewed their leases."""
        await self.redis.hincrby(f"{self.prefix}counters", "clock_offset_ms", ms)
        for consumer in staying:
            await self.redis.zadd(f"{self.prefix}workers", {consumer.worker: 9e15})

    async def kinds(self, *, repair=False) -> set[str]:
        return {one.kind.value for one in await audit(self.redis, self.pool, repair=repair)}

    async def heals_to(self, kind: str, *more: str) -> None:
        """Assert that the audit reports the contradiction without a change, and that the repair resolves everything."""
        assert await self.kinds() == {kind, *more}
        assert await self.kinds() == {kind, *more}
        assert await self.kinds(repair=True) >= {kind}
        assert await audit(self.redis, self.pool) == []


@pytest.fixture
async def ground(redis, pool):
    """A pool with a short timeout and one narrow route."""
    route = Route(name="narrow", kinds=("narrow",), max_running=1)
    settings = PoolSettings(routes=(route,), lease_ms=LEASE_MS, timeout_ms=TIMEOUT_MS, retry_initial_ms=1)
    await Inspector(redis).configure(pool, settings)
    return Ground(redis, pool)


async def test_a_pool_at_work_contradicts_itself_nowhere(ground):
    """The audit reports nothing for jobs in all states, with more jobs than one part holds."""
    consumer = await ground.worker()
    await ground.submit(MANY)
    leases = await consumer.claim(1_000)
    await consumer.settle([Failed(job_id=one.job_id, token=one.token, error="x") for one in leases[:300]])
    await consumer.settle(
        [Failed(job_id=one.job_id, token=one.token, error="x", retry=False) for one in leases[300:400]]
    )
    (parent,) = await ground.submit(delay_ms=5_000)
    children = await ground.submit(MANY, after=(parent,))
    for child in children[:10]:
        await ground.producer.cancel(child)
    assert await audit(ground.redis, ground.pool) == []
    await consumer.deregister()


async def test_a_replayed_parent_counts_once_for_a_child_that_its_failure_released(ground):
    """The child waits for the other parent alone, although the replayed parent has not ended."""
    consumer = await ground.worker()
    failing, other = await ground.submit(2)
    leases = await consumer.claim(2)
    (child,) = await ground.submit(after=(failing, other), after_condition=AfterCondition.FINISHED)
    await consumer.settle([Failed(job_id=failing, token=leases[0].token, error="x", retry=False)])
    (late,) = await ground.submit(after=(failing, other), after_condition=AfterCondition.FINISHED)
    await ground.inspector.replay(ground.pool, failing)
    assert await ground.kinds(repair=True) == set()
    await consumer.settle([Succeeded(job_id=other, token=leases[1].token, result=1)])
    assert [await ground.state(job) for job in (child, late)] == ["queued", "queued"]


async def test_an_entry_without_a_job_is_dropped(ground):
    """A running, requeued or parked entry without a job is dropped.

    The route's slot is free and the counters are right.
    """
    consumer = await ground.worker()
    (lost,) = await ground.submit(kind="narrow")
    (following,) = await ground.submit(kind="narrow")
    await consumer.claim(1)
    await ground.evict(f"job:{lost}")
    await ground.heals_to("job_gone")
    assert [lease.job_id for lease in await consumer.claim(5)] == [following]


async def test_a_missing_waiting_job_leaves_the_counters_at_a_claim(ground):
    """A claim that finds the entry of a missing job corrects the counters."""
    consumer = await ground.worker()
    lost, following = await ground.submit(2)
    await ground.evict(f"job:{lost}")
    assert [lease.job_id for lease in await consumer.claim(5)] == [following]
    assert (await ground.inspector.snapshot(ground.pool)).queued == 0
    assert await audit(ground.redis, ground.pool) == []


async def test_a_job_of_an_unknown_worker_is_requeued(ground):
    """All leases are lost: the job is ready again, and no attempt counts."""
    consumer = await ground.worker()
    (job,) = await ground.submit()
    await consumer.claim(1)
    await ground.evict("workers")
    await ground.heals_to("worker_gone", "counter")
    record = await ground.inspector.job(ground.pool, job)
    assert (record.state, record.attempt) == (JobState.QUEUED, 0)


async def test_jobs_of_a_lost_worker_of_a_stopped_pool_are_recovered(ground):
    """A stopped pool has no worker for the recovery, so the repair recovers the jobs."""
    consumer = await ground.worker()
    (job,) = await ground.submit()
    await consumer.claim(1)
    await ground.pass_time(LONG_MS)
    assert Disagreement(kind=Contradiction.WORKER_LOST, what="w1") in await audit(ground.redis, ground.pool)
    await ground.kinds(repair=True)
    assert await ground.state(job) == "queued"
    assert await audit(ground.redis, ground.pool) == []


async def test_a_job_that_its_worker_does_not_end_in_time_is_a_failed_attempt(ground):
    """A live worker reports nothing: the queue ends the attempt after timeout and grace, and the attempt counts."""
    consumer = await ground.worker()
    (job,) = await ground.submit()
    (lease,) = await consumer.claim(1)
    await ground.pass_time(TIMEOUT_MS + LEASE_MS, consumer)
    assert await ground.kinds() == set()
    await ground.pass_time(LEASE_MS, consumer)
    await ground.heals_to("overdue")
    record = await ground.inspector.job(ground.pool, job)
    assert (record.state, record.attempt) == (JobState.SCHEDULED, 1)
    assert record.last_error == "timeout: the attempt ran longer than 60 s, and its worker did not end it"
    late = Succeeded(job_id=lease.job_id, token=lease.token)
    assert await consumer.settle([late]) == [SettleOutcome.STALE]


async def test_a_job_has_its_own_timeout_and_its_last_attempt(ground):
    """The queue applies the limits of the job, as the worker does."""
    consumer = await ground.worker()
    (short,) = await ground.submit(timeout_ms=1_000, max_attempts=1)
    (long,) = await ground.submit(timeout_ms=LONG_MS)
    await consumer.claim(2)
    await ground.pass_time(TIMEOUT_MS, consumer)
    await ground.kinds(repair=True)
    assert (await ground.state(short), await ground.state(long)) == ("failed", "running")


async def test_maintenance_ends_overdue_attempts(ground):
    """The maintenance of any worker does the work of a repair within a documented time, without a command."""
    consumer = await ground.worker()
    (job,) = await ground.submit(max_attempts=1)
    await consumer.claim(1)
    await ground.pass_time(LONG_MS, consumer)
    done = await consumer.maintain()
    assert done.resolved == (Disagreement(kind=Contradiction.OVERDUE, what=job),)
    assert await ground.state(job) == "failed"


async def test_maintenance_examines_a_large_pool_in_parts(ground):
    """One call examines a bounded number of jobs; the next call continues from there."""
    consumer = await ground.worker()
    await ground.submit(MANY, max_attempts=1)
    await consumer.claim(1_000)
    await consumer.claim(1_000)
    await ground.pass_time(LONG_MS, consumer)
    dead = [0]
    while dead[-1] < MANY:
        await consumer.maintain()
        dead.append((await ground.inspector.snapshot(ground.pool)).dead)
        assert 0 < dead[-1] - dead[-2] < MANY / 2
        await ground.pass_time(1_000, consumer)


async def test_a_retry_without_an_order_becomes_due(ground):
    """The order of due jobs is lost: a job parked for a retry is found by its stream entry."""
    consumer = await ground.worker()
    (job,) = await ground.submit()
    (lease,) = await consumer.claim(1)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="x", retry_after_ms=1_000)])
    await ground.evict("due")
    await ground.heals_to("order_lost")
    await ground.pass_time(2_000, consumer)
    assert (await consumer.maintain()).promoted == 1
    assert [lease.job_id for lease in await consumer.claim(1)] == [job]


@pytest.mark.parametrize("runs_anyway", [False, True])
async def test_a_child_of_a_missing_parent_is_not_blocked_for_ever(ground, runs_anyway):
    """The child is cancelled with the reason, or runs if the job allows failed parents."""
    (parent,) = await ground.submit(delay_ms=LONG_MS)
    on_failure = AfterCondition.FINISHED if runs_anyway else AfterCondition.SUCCEEDED
    (child,) = await ground.submit(after=(parent,), after_condition=on_failure)
    (grandchild,) = await ground.submit(after=(child,))
    await ground.evict(f"job:{parent}")
    await ground.heals_to("parent_gone", "member_gone")
    assert await ground.state(child) == ("queued" if runs_anyway else "cancelled")
    assert await ground.state(grandchild) == ("blocked" if runs_anyway else "cancelled")


async def test_a_child_unknown_to_its_parents_starts_at_their_end(ground):
    """The list of a parent's children is lost: the child still learns of the parent's end."""
    consumer = await ground.worker()
    first, second = await ground.submit(2)
    (child,) = await ground.submit(after=(first, second))
    await ground.evict(f"kids:{first}")
    leases = await consumer.claim(2)
    await consumer.settle([Succeeded(job_id=one.job_id, token=one.token, result=1) for one in leases])
    assert await ground.state(child) == "blocked"
    await ground.heals_to("parent_gone")
    (lease,) = await consumer.claim(1)
    assert (lease.job_id, lease.parents) == (child, {first: 1, second: 1})


async def test_names_of_missing_jobs_leave_their_sets(ground):
    """Blocked, scheduled and dead jobs without records are not counted."""
    consumer = await ground.worker()
    (parent,) = await ground.submit(delay_ms=LONG_MS)
    (child,) = await ground.submit(after=(parent,))
    (dead,) = await ground.submit()
    (lease,) = await consumer.claim(1)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="x", retry=False)])
    await ground.evict(f"job:{parent}", f"job:{child}", f"job:{dead}", f"kids:{parent}")
    await ground.heals_to("member_gone")
    snapshot = await ground.inspector.snapshot(ground.pool)
    assert (snapshot.blocked, snapshot.scheduled, snapshot.dead) == (0, 0, 0)


async def test_a_running_job_of_a_lost_stream_gets_a_new_place(ground):
    """No worker could recover the job, so the job starts again under a lease with an entry."""
    consumer = await ground.worker()
    (job,) = await ground.submit()
    (lease,) = await consumer.claim(1)
    await ground.evict("s:default:task")
    assert (await consumer.renew(slots=1, running=1)).held == frozenset()
    consumer.compare_holdings()
    (again,) = await consumer.claim(1)
    assert (again.job_id, again.attempt) == (job, 1)
    assert again.token > lease.token
    assert await audit(ground.redis, ground.pool) == []
    assert len((await consumer.renew(slots=1, running=1)).held) == 1


async def test_a_retry_of_a_lost_stream_gets_a_new_place(ground):
    """The retry starts at its due time, at the end of a new stream."""
    consumer = await ground.worker()
    (job,) = await ground.submit()
    (lease,) = await consumer.claim(1)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="x", retry_after_ms=1_000)])
    await ground.evict("s:default:task")
    await ground.kinds(repair=True)
    await ground.pass_time(2_000, consumer)
    await consumer.maintain()
    assert [lease.job_id for lease in await consumer.claim(1)] == [job]


async def test_a_record_that_no_script_has_written_hides_no_other(ground):
    """The unreadable record ends as a dead letter; contradictions beside the record are resolved."""
    consumer = await ground.worker()
    odd, lost = await ground.submit(2)
    await consumer.claim(2)
    await ground.redis.hset(f"{ground.prefix}job:{odd}", "lease", "nonsense")
    await ground.evict(f"job:{lost}")
    assert await ground.kinds(repair=True) >= {"unreadable", "job_gone"}
    assert await ground.state(odd) == "failed"
    assert await audit(ground.redis, ground.pool) == []


async def test_a_running_job_that_its_stream_offers_again_stays_with_its_worker(ground):
    """The consumer group is lost and created again.

    A claim finds the entry and leaves the job to the worker in its record.
    """
    first, second = await ground.worker("first"), await ground.worker("second")
    (job,) = await ground.submit()
    (lease,) = await first.claim(1)
    await ground.redis.xgroup_destroy(f"{ground.prefix}s:default:task", "pool")
    await ground.kinds(repair=True)
    assert await second.claim(1) == []
    assert await audit(ground.redis, ground.pool) == []
    await ground.pass_time(LONG_MS, second)
    await second.maintain()  # the first worker is lost
    (again,) = await second.claim(1)
    assert (again.job_id, again.attempt) == (job, lease.attempt + 1)


async def test_a_waiting_job_with_a_running_record_is_requeued(ground):
    """A claim skips the job as another worker's; no worker runs the job, so the repair makes the job ready again."""
    consumer = await ground.worker()
    (job,) = await ground.submit()
    await ground.redis.hset(f"{ground.prefix}job:{job}", "state", "running")
    assert await consumer.claim(1) == []
    await ground.heals_to("worker_gone")
    assert [lease.job_id for lease in await consumer.claim(1)] == [job]


@pytest.mark.parametrize(("fields", "state"), [({"delay_ms": LONG_MS}, "blocked"), ({"after": True}, "scheduled")])
async def test_an_unreachable_job_is_a_dead_letter(ground, fields, state):
    """The record's state contradicts the set that names the job: the job ends, or its caller would wait for ever."""
    (parent,) = await ground.submit(delay_ms=LONG_MS)
    (job,) = await ground.submit(**fields | ({"after": (parent,)} if "after" in fields else {}))
    await ground.redis.hset(f"{ground.prefix}job:{job}", "state", state)
    await ground.heals_to("member_gone")
    record = await ground.inspector.job(ground.pool, job)
    assert (record.state, record.error) == (JobState.FAILED, f"undecodable: state of the record is '{state}'")


async def test_an_entry_of_a_blocked_job_is_a_contradiction(ground):
    """A blocked job has no entry.

    The job becomes a dead letter when a consumer holds its entry or a claim finds one.
    """
    consumer = await ground.worker()
    held, waiting = await ground.submit(2)
    await consumer.claim(1)
    for job in (held, waiting):
        await ground.redis.hset(f"{ground.prefix}job:{job}", "state", "blocked")
    await ground.heals_to("unreadable")
    assert await consumer.claim(1) == []
    assert (await ground.state(held), await ground.state(waiting)) == ("failed", "failed")
    assert await audit(ground.redis, ground.pool) == []


async def test_a_job_with_a_wrong_place_in_the_record_is_a_dead_letter(ground):
    """The entry is dropped as another job's; nothing leads to the job any more, so the job ends with the reason."""
    consumer = await ground.worker()
    held, waiting = await ground.submit(2)
    await consumer.claim(1)
    for job in (held, waiting):
        await ground.redis.hset(f"{ground.prefix}job:{job}", "entry", "0-0")
    await ground.heals_to("job_gone")
    assert await consumer.claim(1) == []
    for job in (held, waiting):
        record = await ground.inspector.job(ground.pool, job)
        assert (record.state, record.error) == (JobState.FAILED, "undecodable: entry of the record is '0-0'")


async def test_recovery_follows_the_record_of_each_job(ground):
    """The record decides: a waiting job keeps waiting, and a wrong place ends the job."""
    lost, consumer = await ground.worker("lost"), await ground.worker()
    waiting, nowhere = await ground.submit(2)
    await lost.claim(2)
    await ground.redis.hset(f"{ground.prefix}job:{waiting}", "state", "queued")
    await ground.redis.hset(f"{ground.prefix}job:{nowhere}", "entry", "0-0")
    await ground.redis.hset(f"{ground.prefix}counters", "audit_at", 9 * 10**15)  # which would find the entries first
    await ground.pass_time(LONG_MS, consumer)
    await consumer.maintain()
    assert (await ground.state(waiting), await ground.state(nowhere)) == ("queued", "failed")
    await ground.kinds(repair=True)
    assert [lease.job_id for lease in await consumer.claim(2)] == [waiting]


async def test_a_parent_that_succeeded_without_a_result_stops_no_maintenance(ground):
    """The result is lost, so the child cannot receive the result and is cancelled with the reason."""
    (parent,) = await ground.submit(delay_ms=LONG_MS)
    (child,) = await ground.submit(after=(parent,))
    await ground.redis.hset(f"{ground.prefix}job:{parent}", "state", "succeeded")
    await ground.heals_to("parent_gone", "member_gone")
    assert await ground.state(child) == "cancelled"
    (late,) = await ground.submit(after=(parent,))
    assert await ground.state(late) == "cancelled"
    await ground.evict(f"job:{parent}")  # which no script would let expire


async def test_an_impossible_due_time_delays_no_child(ground):
    """By its record a child is due in 30,000 years: the child starts when its parent has ended."""
    consumer = await ground.worker()
    (parent,) = await ground.submit()
    (child,) = await ground.submit(after=(parent,))
    await ground.redis.hset(f"{ground.prefix}job:{child}", "due", "9" * 15)
    (lease,) = await consumer.claim(1)
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    assert [lease.job_id for lease in await consumer.claim(1)] == [child]
