"""The queue's counters on a real server: counts, lists and histories stay true when jobs end in unusual ways."""

from __future__ import annotations

from agentpool_core.jobs import JobId, JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer, scripts
from agentpool_core.queue.completions import Failed, Returned, ReturnReason, Succeeded
from agentpool_core.queue.keys import Keys

HOLD_MS = 60_000
MANY = 50


def counters(pool) -> str:
    return f"ap:{{{pool}}}:counters"


async def shift_clock(redis, pool, ms: int) -> None:
    await redis.hincrby(counters(pool), "clock_offset_ms", ms)


async def worker_of(redis, pool, name="w1", slots=10) -> Consumer:
    consumer = Consumer(redis, pool, WorkerId(name))
    await consumer.register(slots=slots, host="here")
    return consumer


async def test_jobs_that_never_ran_do_not_shorten_the_mean_run_time(redis, pool):
    """A cancelled job counts as finished without an attempt: run time is divided by the attempts that ran."""
    producer = Producer(redis, pool)
    await producer.submit(JobRequest(kind="k"))
    consumer = await worker_of(redis, pool)
    (lease,) = await consumer.claim(1)
    await shift_clock(redis, pool, 5_000)
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    for receipt in await producer.submit_many([JobRequest(kind="k")] * MANY):
        await producer.cancel(receipt.job_id)
    snapshot = await Inspector(redis).snapshot(pool)
    assert (snapshot.finished_total, snapshot.attempts_total) == (MANY + 1, 1)
    assert snapshot.run_ms_total >= 5_000


async def test_an_attempt_that_is_tried_again_counts_as_one(redis, pool):
    """The run time of a retried attempt counts, so the attempt counts as well."""
    await Producer(redis, pool).submit(JobRequest(kind="k"))
    consumer = await worker_of(redis, pool)
    (lease,) = await consumer.claim(1)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="x")])
    snapshot = await Inspector(redis).snapshot(pool)
    assert (snapshot.finished_total, snapshot.attempts_total) == (0, 1)


async def test_running_jobs_are_listed_behind_those_that_wait_for_their_retry(redis, pool):
    """Jobs that failed and wait do not use up the limit of the list."""
    await Producer(redis, pool).submit_many([JobRequest(kind="k")] * 4)
    consumer = await worker_of(redis, pool)
    leases = await consumer.claim(4)
    await consumer.settle([Failed(job_id=one.job_id, token=one.token, error="x") for one in leases[:3]])
    listed = await Inspector(redis).jobs(pool, JobState.RUNNING, limit=2)
    assert [job.job_id for job in listed] == [leases[3].job_id]


async def test_running_jobs_of_all_workers_are_listed_oldest_first(redis, pool):
    """Jobs of one stream are listed in the stream's order, for all workers."""
    receipts = await Producer(redis, pool).submit_many([JobRequest(kind="k")] * 4)
    first, second = await worker_of(redis, pool, "w1"), await worker_of(redis, pool, "w2")
    for consumer in (second, first, second, first):
        await consumer.claim(1)
    listed = await Inspector(redis).jobs(pool, JobState.RUNNING)
    assert [job.job_id for job in listed] == [receipt.job_id for receipt in receipts]


async def test_queued_jobs_are_listed_behind_those_that_were_cancelled(redis, pool):
    """The places of cancelled jobs do not use up the limit of the list."""
    producer = Producer(redis, pool)
    receipts = await producer.submit_many([JobRequest(kind="k")] * 5)
    for receipt in receipts[1:4]:
        await producer.cancel(receipt.job_id)
    listed = await Inspector(redis).jobs(pool, JobState.QUEUED, limit=2)
    assert [job.job_id for job in listed] == [receipts[0].job_id, receipts[4].job_id]


async def test_an_expired_cordon_hides_no_free_slot(redis, pool):
    """After a cordon has expired, the worker's slots count as free again, so a submit signals no pressure."""
    consumer = await worker_of(redis, pool)
    inspector = Inspector(redis)
    await inspector.cordon(pool, [consumer.worker], hold_ms=HOLD_MS)
    await shift_clock(redis, pool, HOLD_MS + 1)
    await consumer.register(slots=10, host="here")
    await Producer(redis, pool).submit(JobRequest(kind="k"))
    assert await redis.hget(counters(pool), "pressure_at") is None
    assert (await inspector.snapshot(pool)).cordoned == frozenset()


async def test_a_cordoned_worker_that_left_hides_no_free_slot(redis, pool):
    """The slots of a worker leave the counters once, with or without a cordon."""
    leaving, staying = await worker_of(redis, pool, "w1"), await worker_of(redis, pool, "w2")
    await Inspector(redis).cordon(pool, [leaving.worker], hold_ms=HOLD_MS)
    await leaving.deregister()
    await Producer(redis, pool).submit(JobRequest(kind="k"))
    assert await redis.hget(counters(pool), "pressure_at") is None
    assert len(await staying.claim(1)) == 1


async def test_a_worker_cordoned_before_its_registration_offers_no_slot(redis, pool):
    """The slots of the worker count as cordoned from its registration."""
    await Inspector(redis).cordon(pool, [WorkerId("w1")], hold_ms=HOLD_MS)
    await worker_of(redis, pool)
    for _ in range(2):  # a different script stores the first job of a route
        await redis.hdel(counters(pool), "pressure_at")
        await Producer(redis, pool).submit(JobRequest(kind="k"))
        assert await redis.hget(counters(pool), "pressure_at") is not None


async def test_a_key_of_a_missing_job_makes_a_new_job(redis, pool):
    """An idempotency key that has outlived its job is free again, and the call succeeds."""
    producer = Producer(redis, pool)
    gone = await producer.submit(JobRequest(kind="k", idempotency_key="once"))
    await producer.cancel(gone.job_id)
    await redis.delete(f"ap:{{{pool}}}:job:{gone.job_id}")
    await redis.persist(Keys(pool).idempotency("once"))
    first, again = await producer.submit_many(
        [JobRequest(kind="k"), JobRequest(kind="k", payload=2, idempotency_key="once")]
    )
    assert not again.duplicate
    assert again.job_id not in {gone.job_id, first.job_id}
    assert (await Inspector(redis).snapshot(pool)).queued == 2


async def test_a_replay_remembers_when_the_job_died(redis, pool):
    """The history of a replayed job shows the failure and the replay, each with its time."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="k", max_attempts=1))
    consumer = await worker_of(redis, pool)
    (lease,) = await consumer.claim(1)
    await consumer.settle([Failed(job_id=lease.job_id, token=lease.token, error="x")])
    inspector = Inspector(redis)
    died_at = (await inspector.job(pool, receipt.job_id)).finished_at_ms
    await shift_clock(redis, pool, 7_000)
    await inspector.replay(pool, receipt.job_id)
    failed, replayed = (await inspector.job(pool, receipt.job_id)).history[-2:]
    assert (failed.type, failed.at_ms) == ("failed", died_at)
    assert (replayed.type, replayed.at_ms >= died_at + 7_000) == ("queued", True)


async def test_the_history_shows_the_last_of_several_saved_states(redis, pool):
    """A run adds one line to the history, however often its handler saves its state; the next run adds its own line."""
    receipt = await Producer(redis, pool).submit(JobRequest(kind="k"))
    consumer = await worker_of(redis, pool)
    for _ in range(2):
        (lease,) = await consumer.claim(1)
        for step in range(MANY):
            await consumer.checkpoint(lease, {"step": step})
        await shift_clock(redis, pool, 5_000)
        await consumer.checkpoint(lease, {"step": "last"})
        await consumer.settle([Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.DRAIN)])
    history = (await Inspector(redis).job(pool, receipt.job_id)).history
    assert [entry.type for entry in history] == ["queued", *["started", "checkpointed", "returned"] * 2]
    assert history[2].at_ms >= history[1].at_ms + 5_000
    assert history[2].worker == consumer.worker


async def test_a_job_is_requeued_however_many_are_held(redis, pool):
    """The jobs of a lost answer are found beyond the first page of held jobs."""
    await Producer(redis, pool).submit_many([JobRequest(kind="k")] * 502)
    consumer = await worker_of(redis, pool, slots=1_000)
    held = await consumer.claim(501)
    (lost,) = await consumer.claim(1)
    args = (consumer.worker, *[text for lease in held for text in (lease.job_id, lease.token)])
    assert await scripts.RECONCILE.run(redis, f"ap:{{{pool}}}:conf", args) == [1, 0, 0]
    assert (await Inspector(redis).job(pool, JobId(lost.job_id))).state is JobState.QUEUED
    await consumer.deregister()
