"""The basic operations of the queue on a real server: submit, claim, settle, retry, requeue, cancel, recover."""

from __future__ import annotations

import pytest

from agentpool_core.errors import (
    IdempotencyConflictError,
    InvalidJobError,
    PayloadTooLargeError,
    QueueFullError,
    UnknownJobError,
    UnknownParentError,
    UnknownPoolError,
)
from agentpool_core.jobs import (
    AfterCondition,
    Job,
    JobId,
    JobRequest,
    JobState,
    LeaseToken,
    PoolRef,
    Priority,
    WorkerId,
)
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, Route
from agentpool_core.queue.completions import (
    CancelJob,
    Cancelled,
    CancelOutcome,
    Failed,
    Returned,
    ReturnReason,
    SettleOutcome,
    Succeeded,
    YieldJob,
)
from agentpool_core.queue.keys import Keys


async def shift_clock(redis, pool, ms: int) -> None:
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", ms)


async def worker_of(redis, pool, name="w1", slots=10) -> Consumer:
    consumer = Consumer(redis, pool, WorkerId(name))
    await consumer.register(slots=slots, host="here")
    return consumer


async def test_a_job_goes_from_submit_to_result(redis, pool):
    """A claim returns every field of a submitted job, and the queue keeps the result."""
    producer = Producer(redis, pool)
    receipt = await producer.submit(JobRequest(kind="k", payload={"a": [1, "é"]}, trace={"traceparent": "00-1"}))
    assert (receipt.state, receipt.duplicate, receipt.queue_depth) == (JobState.QUEUED, False, 1)
    consumer = await worker_of(redis, pool)
    (lease,) = await consumer.claim(5)
    assert (lease.job_id, lease.attempt, lease.token, lease.payload) == (receipt.job_id, 1, 1, {"a": [1, "é"]})
    assert (lease.kind, lease.route, lease.priority, lease.max_attempts) == ("k", "default", Priority.TASK, 5)
    assert lease.trace == {"traceparent": "00-1"}
    assert await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token, result={"ok": 1})]) == [
        SettleOutcome.APPLIED
    ]
    job = await Inspector(redis).job(pool, receipt.job_id)
    assert (job.state, job.result, job.attempt, job.worker) == (JobState.SUCCEEDED, {"ok": 1}, 1, "w1")
    assert [entry.type for entry in job.history] == ["queued", "started", "succeeded"]
    assert [event.type for event in await Inspector(redis).events(pool)] == ["queued", "started", "succeeded"]
    assert await redis.xlen(f"ap:{{{pool}}}:s:default:task") == 0


async def test_priorities_and_routes_decide_the_order_of_jobs(redis, pool):
    """Critical jobs start before task and info jobs.

    A route at its limit is skipped without blocking the next route.
    """
    settings = PoolSettings(routes=(Route(name="code", kinds=("gen",), max_running=1),))
    await Inspector(redis).configure(pool, settings)
    producer = Producer(redis, pool)
    order = [("gen", "info"), ("gen", "task"), ("x", "info"), ("x", "task"), ("x", "critical"), ("gen", "critical")]
    for kind, priority in order:
        await producer.submit(JobRequest(kind=kind, priority=Priority(priority)))
    consumer = await worker_of(redis, pool)
    leases = await consumer.claim(10)
    assert sorted((lease.kind, lease.priority.value) for lease in leases[:2]) == [
        ("gen", "critical"),
        ("x", "critical"),
    ]
    assert [(lease.kind, lease.priority.value) for lease in leases[2:]] == [("x", "task"), ("x", "info")]
    assert await consumer.claim(10) == []
    (gen,) = [lease for lease in leases if lease.kind == "gen"]
    ended = Succeeded(job_id=gen.job_id, token=gen.token)
    outcomes, more = await consumer.exchange([ended], 10)
    assert outcomes == [SettleOutcome.APPLIED]
    assert [(lease.kind, lease.priority.value) for lease in more] == [("gen", "task")]


async def test_ageing_lets_an_old_info_job_pass_a_young_critical_one(redis, pool):
    """A job that has waited longer than its patience starts before newer jobs of higher priority."""
    await Inspector(redis).configure(pool, PoolSettings(patience_info_ms=1, patience_task_ms=0))
    producer = Producer(redis, pool)
    old = await producer.submit(JobRequest(kind="x", priority=Priority.INFO))
    first = (await Inspector(redis).job(pool, old.job_id)).enqueued_at_ms
    while True:
        young = await producer.submit(JobRequest(kind="x", priority=Priority.CRITICAL))
        if (await Inspector(redis).job(pool, young.job_id)).enqueued_at_ms > first + 1:
            break
    consumer = await worker_of(redis, pool)
    leases = await consumer.claim(1000)
    assert leases[-1].job_id == young.job_id
    assert old.job_id in [lease.job_id for lease in leases[:-1]]


async def test_maintenance_is_due_when_the_lease_of_a_silent_worker_ends(redis, pool):
    """The jobs of a lost worker do not wait for the next regular maintenance."""
    consumer = await worker_of(redis, pool)
    lost = Consumer(redis, pool, WorkerId("lost"))
    await lost.register(slots=1, host="h")
    assert (await consumer.maintain()).next_due_ms is None
    await shift_clock(redis, pool, PoolSettings().lease_ms - 1_900)
    await consumer.renew(slots=10, running=0)
    assert 0 < (await consumer.maintain()).next_due_ms <= 1_900


async def test_due_jobs_wait_for_no_lease(redis, pool):
    """A worker that cannot yet identify lost workers recovers no jobs, but starts due jobs."""
    producer = Producer(redis, pool)
    await producer.submit(JobRequest(kind="x"))
    await (await worker_of(redis, pool, "lost")).claim(1)
    await producer.submit(JobRequest(kind="x", delay_ms=5_000))
    await shift_clock(redis, pool, 10_001)
    fresh = await worker_of(redis, pool, "fresh")
    done = await fresh.maintain(recover=False)
    assert (done.recovered, done.promoted, done.next_due_ms) == (0, 1, None)
    assert (await fresh.maintain()).recovered == 1


async def test_a_failed_job_is_retried_and_then_dead(redis, pool):
    """A failed job returns to its old place after its backoff until the job is dead; a dead job can be replayed."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x", max_attempts=2))
    consumer = await worker_of(redis, pool)
    (lease,) = await consumer.claim(1)
    first = Failed(job_id=lease.job_id, token=lease.token, error="boom")
    assert await consumer.settle([first]) == [SettleOutcome.RETRYING]
    assert await consumer.settle([first]) == [SettleOutcome.RETRYING]
    assert await consumer.claim(1) == []
    upkeep = await consumer.maintain()
    assert 400 <= upkeep.next_due_ms <= 1000
    await shift_clock(redis, pool, 1001)
    assert (await consumer.maintain()).promoted == 1
    await consumer.renew(slots=10, running=0)
    (again,) = await consumer.claim(1)
    assert (again.attempt, again.token, again.enqueued_at_ms) == (2, 2, lease.enqueued_at_ms)
    assert await consumer.settle([first]) == [SettleOutcome.STALE]
    assert await consumer.settle([Failed(job_id=again.job_id, token=again.token, error="boom2")]) == [
        SettleOutcome.DEAD
    ]
    (dead,) = await Inspector(redis).jobs(pool, JobState.FAILED)
    assert (dead.job_id, dead.error, dead.attempt) == (receipt.job_id, "boom2", 2)
    await Inspector(redis).replay(pool, receipt.job_id)
    (replayed,) = await consumer.claim(1)
    assert (replayed.attempt, replayed.token) == (1, 3)
    await consumer.settle([Failed(job_id=replayed.job_id, token=replayed.token, error="no", retry=False)])
    assert await Inspector(redis).discard(pool) == 1
    with pytest.raises(UnknownJobError):
        await Inspector(redis).job(pool, receipt.job_id)


async def test_a_requeued_job_keeps_its_place_and_its_attempt(redis, pool):
    """A requeued job starts before a younger job, with its state, and the requeued attempt does not count."""
    producer = Producer(redis, pool)
    old = await producer.submit(JobRequest(kind="x"))
    await producer.submit(JobRequest(kind="x"))
    consumer = await worker_of(redis, pool)
    (lease,) = await consumer.claim(1)
    back = Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.DRAIN, checkpoint={"at": 3})
    assert await consumer.settle([back]) == [SettleOutcome.RETURNED]
    leases = await consumer.claim(2)
    assert leases[0].job_id == old.job_id
    assert (leases[0].attempt, leases[0].token, leases[0].checkpoint) == (1, 2, {"at": 3})


async def test_the_jobs_of_a_lost_worker_are_recovered(redis, pool):
    """When a lease expires, another worker gets the jobs, the attempt counts, and the old token is refused."""
    await Producer(redis, pool).submit_many([JobRequest(kind="x", payload=n) for n in range(3)])
    lost = await worker_of(redis, pool, "lost")
    leases = await lost.claim(3)
    assert [lease.payload for lease in leases] == [0, 1, 2]
    await shift_clock(redis, pool, 10_001)
    alive = await worker_of(redis, pool, "alive")
    assert (await alive.maintain()).recovered == 3
    assert not (await lost.renew(slots=3, running=3)).still_registered
    again = await alive.claim(5)
    assert [(lease.payload, lease.attempt, lease.token) for lease in again] == [(0, 2, 2), (1, 2, 2), (2, 2, 2)]
    late = [Succeeded(job_id=lease.job_id, token=lease.token) for lease in leases]
    assert await lost.settle(late) == [SettleOutcome.STALE] * 3
    snapshot = await Inspector(redis).snapshot(pool)
    assert [worker.name for worker in snapshot.workers] == ["alive"]
    assert (snapshot.running, snapshot.queued) == (3, 0)


async def test_cancel_ends_waiting_jobs_and_asks_running_jobs(redis, pool):
    """A queued job is cancelled at once, a running job through its worker's orders; an ended job does not change."""
    producer = Producer(redis, pool)
    first, second = await producer.submit_many([JobRequest(kind="x"), JobRequest(kind="x")])
    assert await producer.cancel(second.job_id) is CancelOutcome.CANCELLED
    consumer = await worker_of(redis, pool)
    (lease,) = await consumer.claim(5)
    assert await producer.cancel(first.job_id) is CancelOutcome.REQUESTED
    assert await consumer.wait(1000, for_work=False) == [CancelJob(job_id=first.job_id, token=LeaseToken(1))]
    assert await consumer.settle([Cancelled(job_id=lease.job_id, token=lease.token)]) == [SettleOutcome.CANCELLED]
    assert await producer.cancel(first.job_id) is CancelOutcome.FINISHED
    with pytest.raises(UnknownJobError):
        await producer.cancel(JobId("nobody"))
    group = (await redis.xinfo_groups(f"ap:{{{pool}}}:s:default:task"))[0]
    assert (group.get("lag", 0), group["pending"]) == (0, 0)  # Redis 6.2 reports no lag


async def test_delay_and_ttl_are_kept(redis, pool):
    """A delayed job becomes ready at its time; a job whose ttl ends in the queue expires and never runs."""
    producer = Producer(redis, pool)
    late = await producer.submit(JobRequest(kind="x", delay_ms=5_000))
    assert late.state is JobState.SCHEDULED
    short = await producer.submit(JobRequest(kind="x", ttl_ms=1_000))
    consumer = await worker_of(redis, pool)
    await shift_clock(redis, pool, 5_000)
    upkeep = await consumer.maintain()
    assert (upkeep.promoted, upkeep.expired, upkeep.next_due_ms) == (1, 1, None)
    assert [lease.job_id for lease in await consumer.claim(5)] == [late.job_id]
    assert (await Inspector(redis).job(pool, short.job_id)).state is JobState.EXPIRED


async def test_children_start_when_their_last_parent_has_ended(redis, pool):
    """The last parent releases a child with the results of all parents; a failed parent cancels its descendants."""
    producer = Producer(redis, pool)
    requests = [
        JobRequest(kind="x", job_id=JobId("child"), after=(JobId("p1"), JobId("p2"))),
        JobRequest(kind="x", job_id=JobId("p1")),
        JobRequest(kind="x", job_id=JobId("p2")),
        JobRequest(kind="x", job_id=JobId("bad")),
        JobRequest(kind="x", job_id=JobId("kid"), after=(JobId("bad"),)),
        JobRequest(kind="x", job_id=JobId("grandkid"), after=(JobId("kid"),)),
        JobRequest(kind="x", job_id=JobId("stubborn"), after=(JobId("bad"),), after_condition=AfterCondition.FINISHED),
    ]
    receipts = await producer.submit_many(requests)
    assert [receipt.state.value for receipt in receipts] == [
        *("blocked", "queued", "queued", "queued", "blocked", "blocked", "blocked")
    ]
    consumer = await worker_of(redis, pool)
    leases = {lease.job_id: lease for lease in await consumer.claim(10)}
    assert set(leases) == {"p1", "p2", "bad"}
    await consumer.settle([Succeeded(job_id=JobId("p1"), token=LeaseToken(1), result=1)])
    assert await consumer.claim(10) == []
    ended = [
        Succeeded(job_id=JobId("p2"), token=LeaseToken(1), result=[2]),
        Failed(job_id=JobId("bad"), token=LeaseToken(1), error="no", retry=False),
    ]
    _, more = await consumer.exchange(ended, 10)
    assert {lease.job_id: dict(lease.parents) for lease in more} == {
        "child": {"p1": 1, "p2": [2]},
        "stubborn": {},
    }
    for name in ("kid", "grandkid"):
        job = await Inspector(redis).job(pool, JobId(name))
        assert (job.state, job.reason) == (JobState.CANCELLED, "upstream: job bad failed: no")
    late = await producer.submit(JobRequest(kind="x", after=(JobId("p1"),)))
    assert late.state is JobState.QUEUED
    doomed = await producer.submit(JobRequest(kind="x", after=(JobId("bad"),)))
    assert doomed.state is JobState.CANCELLED


async def test_an_idempotency_key_makes_one_job(redis, pool):
    """The same key and body return the first job; a different body is a conflict."""
    producer = Producer(redis, pool)
    request = JobRequest(kind="x", payload={"a": 1, "b": 2}, idempotency_key="k 1")
    first = await producer.submit(request)
    same = await producer.submit(JobRequest(kind="x", payload={"b": 2, "a": 1}, idempotency_key="k 1"))
    assert (same.job_id, same.duplicate, same.queue_depth) == (first.job_id, True, 1)
    with pytest.raises(IdempotencyConflictError) as caught:
        await producer.submit(JobRequest(kind="x", payload={}, idempotency_key="k 1"))
    assert caught.value.job_id == first.job_id
    with pytest.raises(IdempotencyConflictError):
        await producer.submit_many(
            [JobRequest(kind="x"), JobRequest(kind="x", idempotency_key="k"), JobRequest(kind="y", idempotency_key="k")]
        )
    assert (await Inspector(redis).snapshot(pool)).queued == 1


async def test_bad_jobs_are_refused_and_leave_nothing(redis, pool):
    """Each error names the field; the queue stores nothing of the call."""
    producer = Producer(redis, pool)
    await Inspector(redis).configure(pool, PoolSettings(max_depth=2))
    bad = [
        (JobRequest(kind="no spaces"), "kind"),
        (JobRequest(kind="x", payload={"a": [float("nan")]}), "payload.a[0]"),
        (JobRequest(kind="x", payload={"a": {1, 2}}), "payload.a"),
        (JobRequest(kind="x", payload="x" * 1_048_576), "payload"),
        (JobRequest(kind="x", delay_ms=-1), "delay_ms"),
        (JobRequest(kind="x", ttl_ms=0), "ttl_ms"),
        (JobRequest(kind="x", max_attempts=0), "max_attempts"),
        (JobRequest(kind="x", after=(JobId("nobody"),)), "after[0]"),
        (JobRequest(kind="x", job_id=JobId("me"), after=(JobId("me"),)), "after"),
    ]
    for request, field in bad:
        with pytest.raises(InvalidJobError) as caught:
            await producer.submit_many([JobRequest(kind="x"), request])
        assert caught.value.field == field
    with pytest.raises(PayloadTooLargeError):
        await producer.submit(bad[3][0])
    with pytest.raises(UnknownParentError):
        await producer.submit(bad[7][0])
    with pytest.raises(QueueFullError) as full:
        await producer.submit_many([JobRequest(kind="x")] * 3)
    assert (full.value.depth, full.value.limit) == (0, 2)
    with pytest.raises(UnknownPoolError):
        await Producer(redis, PoolRef("test", "nobody")).submit(JobRequest(kind="x"))
    assert await redis.keys(f"ap:{{{pool}}}:job:*") == []
    assert (await Inspector(redis).snapshot(pool)).submitted_total == 0


async def test_a_critical_job_without_a_slot_asks_the_least_urgent_to_yield(redis, pool):
    """The running preemptible job of lowest priority gets one request to yield, and is requeued with its state."""
    producer = Producer(redis, pool)
    await producer.submit(JobRequest(kind="x", preemptible=True))
    low = await producer.submit(JobRequest(kind="x", priority=Priority.INFO, preemptible=True))
    consumer = await worker_of(redis, pool, slots=2)
    assert len(await consumer.claim(2)) == 2
    await producer.submit(JobRequest(kind="x", priority=Priority.CRITICAL))
    assert await consumer.wait(1000, for_work=False) == [YieldJob(job_id=low.job_id, token=LeaseToken(1))]
    back = Returned(job_id=low.job_id, token=LeaseToken(1), reason=ReturnReason.PREEMPTED, checkpoint=7)
    _, (urgent,) = await consumer.exchange([back], 1)
    assert urgent.priority is Priority.CRITICAL
    history = [entry.type for entry in (await Inspector(redis).job(pool, low.job_id)).history]
    assert history == ["queued", "started", "yielding", "checkpointed", "preempted"]
    assert [event.type for event in await Inspector(redis).events(pool)][-2:] == ["preempted", "started"]


async def test_pause_stops_claims_and_nothing_else(redis, pool):
    """A paused pool accepts submits, gives no leases, and reports the pause."""
    settings = PoolSettings(paused=True)
    await Inspector(redis).configure(pool, settings)
    await Producer(redis, pool).submit(JobRequest(kind="x"))
    consumer = await worker_of(redis, pool)
    assert await consumer.claim(1) == []
    assert (await Inspector(redis).snapshot(pool)).paused
    assert (await consumer.renew(slots=1, running=0)).settings_revision == settings.revision
    await Inspector(redis).configure(pool, PoolSettings())
    assert len(await consumer.claim(1)) == 1


async def test_a_snapshot_describes_the_whole_queue(redis, pool):
    """One read returns depths by route and priority, waiting and dead jobs, workers and totals."""
    producer = Producer(redis, pool)
    await producer.submit_many([JobRequest(kind="x"), JobRequest(kind="x", priority=Priority.INFO)])
    await producer.submit(JobRequest(kind="x", delay_ms=1000))
    consumer = await worker_of(redis, pool, slots=4)
    await consumer.claim(1)
    await consumer.renew(slots=4, running=1)
    nobody = PoolRef("test", "nobody")
    found = await Inspector(redis).snapshots([pool, nobody])
    assert isinstance(found[nobody], UnknownPoolError)
    snapshot = found[pool]
    (route,) = snapshot.routes
    assert (route.name, route.limit, route.running, route.backlog) == ("default", None, 1, 1)
    assert route.queued[Priority.INFO] == 1
    assert (snapshot.scheduled, snapshot.blocked, snapshot.dead) == (1, 0, 0)
    assert snapshot.oldest_wait_ms is not None
    (worker,) = snapshot.workers
    assert (worker.name, worker.slots, worker.running, worker.host) == ("w1", 4, 1, "here")
    assert (snapshot.submitted_total, snapshot.started_total, snapshot.finished_total) == (3, 1, 0)


async def test_an_overloaded_worker_defers_a_job_without_an_attempt(redis, pool):
    """A deferred job waits its delay, keeps its place and its state, and the attempt does not count."""
    consumer = await worker_of(redis, pool)
    receipt = await Producer(redis, pool).submit(JobRequest(kind="x"))
    (lease,) = await consumer.claim(1)
    deferral = Returned(
        job_id=lease.job_id, token=lease.token, reason=ReturnReason.OVERLOADED, checkpoint={"n": 1}, after_ms=60_000
    )
    assert await consumer.settle([deferral]) == [SettleOutcome.RETURNED]
    assert await consumer.settle([deferral]) == [SettleOutcome.RETURNED]  # asked again after a lost answer
    assert await consumer.claim(1) == []
    assert (await consumer.maintain()).next_due_ms > 50_000
    await redis.hincrby(Keys(pool).counters, "clock_offset_ms", 60_001)
    await consumer.register(slots=1, host="h")
    assert (await consumer.maintain()).promoted == 1
    (again,) = await consumer.claim(1)
    assert (again.job_id, again.attempt, again.checkpoint) == (receipt.job_id, 1, {"n": 1})
    assert again.token > lease.token


async def defer_next(redis, pool, consumer) -> tuple[SettleOutcome, Job]:
    """Defer the next job for its overloaded handler, then pass half a minute; return the outcome and the record."""
    (lease,) = await consumer.claim(1)
    busy = ReturnReason.OVERLOADED
    completion = Returned(job_id=lease.job_id, token=lease.token, reason=busy, said="no GPU", checkpoint=[1])
    (outcome,) = await consumer.settle([completion])
    record = await Inspector(redis).job(pool, lease.job_id)
    await shift_clock(redis, pool, 30_001)
    await consumer.register(slots=1, host="h")
    await consumer.maintain()
    return outcome, record


async def test_a_job_deferred_for_longer_than_its_timeout_has_failed_an_attempt(redis, pool):
    """Deferring within each attempt's timeout takes ever longer.

    Then the attempt counts, and at last the job is dead.
    """
    await Inspector(redis).configure(pool, PoolSettings(retry_initial_ms=1_000, retry_max_ms=300_000))
    consumer = await worker_of(redis, pool)
    await Producer(redis, pool).submit(JobRequest(kind="x", timeout_ms=60_000, max_attempts=2))
    waits_ms = []
    for expected in (("returned", 0), ("returned", 0), ("retrying", 1), ("returned", 1), ("returned", 1)):
        outcome, record = await defer_next(redis, pool, consumer)
        assert (outcome, record.attempt) == expected
        waits_ms.append(record.due_at_ms - record.claimed_at_ms)
    assert waits_ms[0] >= 500
    assert waits_ms[1] >= 1_000  # the delay grows as the backoff of failed attempts does
    outcome, record = await defer_next(redis, pool, consumer)
    assert (outcome, record.state, record.attempt) == (SettleOutcome.DEAD, JobState.FAILED, 2)
    assert record.checkpoint == [1]
    assert record.error == (
        "overloaded: deferred 3 times, for longer than the 60 s that the attempt may run; the handler said: no GPU"
    )


async def test_a_replayed_job_may_be_deferred_for_the_full_time_again(redis, pool):
    """The deferred time before the job's death does not count again."""
    consumer = await worker_of(redis, pool)
    await Producer(redis, pool).submit(JobRequest(kind="x", timeout_ms=30_000, max_attempts=1))
    outcomes = [await defer_next(redis, pool, consumer) for _ in range(2)]
    assert [outcome for outcome, _ in outcomes] == [SettleOutcome.RETURNED, SettleOutcome.DEAD]
    await Inspector(redis).replay(pool, outcomes[-1][1].job_id)
    outcome, record = await defer_next(redis, pool, consumer)
    assert (outcome, record.attempt) == (SettleOutcome.RETURNED, 0)


@pytest.mark.parametrize("late", [False, True])
async def test_a_job_for_failures_runs_after_a_failure_only(redis, pool, late):
    """The job waits for all parents, and is cancelled if every parent has succeeded, also with a late submit."""
    producer, consumer = Producer(redis, pool), await worker_of(redis, pool)
    parents = await producer.submit_many([JobRequest(kind="x") for _ in range(3)])
    ids = [parent.job_id for parent in parents]

    async def submit(*after: JobId) -> JobId:
        request = JobRequest(kind="x", after=after, after_condition=AfterCondition.FAILED)
        return (await producer.submit(request)).job_id

    children = [] if late else [await submit(*ids), await submit(*ids[:2])]
    leases = await consumer.claim(3)
    await consumer.settle([Succeeded(job_id=one.job_id, token=one.token, result=1) for one in leases[:2]])
    assert await consumer.claim(3) == []
    await consumer.settle([Failed(job_id=leases[2].job_id, token=leases[2].token, error="no", retry=False)])
    children = children or [await submit(*ids), await submit(*ids[:2])]
    (lease,) = await consumer.claim(3)
    assert (lease.job_id, dict(lease.parents)) == (children[0], dict.fromkeys(ids[:2], 1))
    unneeded = await Inspector(redis).job(pool, children[1])
    assert (unneeded.state, unneeded.reason) == (JobState.CANCELLED, "upstream: every parent succeeded")
    after_unneeded = await submit(children[1])  # whose parent was cancelled, and so did not succeed
    assert [lease.job_id for lease in await consumer.claim(3)] == [after_unneeded]


async def test_a_cancelled_descendant_names_the_ancestor_and_its_error(redis, pool):
    """The reason has the first line of the error, at every depth, also for a late submit."""
    producer, consumer = Producer(redis, pool), await worker_of(redis, pool)
    requests = [JobRequest(kind="x", job_id=JobId("a"))]
    requests += [JobRequest(kind="x", job_id=JobId(name), after=(JobId(of),)) for name, of in ("ba", "cb", "dc")]
    await producer.submit_many(requests)
    (lease,) = await consumer.claim(3)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="no model\nat line 3", retry=False)])
    await producer.submit(JobRequest(kind="x", job_id=JobId("e"), after=(JobId("d"),)))
    reasons = {(await Inspector(redis).job(pool, JobId(name))).reason for name in "bcde"}
    assert reasons == {"upstream: job a failed: no model"}
