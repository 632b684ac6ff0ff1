"""Waiting jobs and their signals, against a real server."""

from __future__ import annotations

import asyncio

import pytest

from agentpool_core.errors import InvalidJobError, PayloadTooLargeError, SignalRefusedError, UnknownJobError
from agentpool_core.jobs import JobId, JobRequest, JobState, Priority
from agentpool_core.queue import Inspector, PoolSettings, Producer
from agentpool_core.queue.audit import audit
from agentpool_core.queue.codec.signals import MAX_SIGNALS
from agentpool_core.queue.completions import SettleOutcome, SignalOutcome, Succeeded, Waiting


@pytest.fixture
def producer(redis, pool):
    return Producer(redis, pool)


@pytest.fixture
def inspector(redis, pool):
    return Inspector(redis)


@pytest.fixture
def wait(producer, consumer):
    """Submit a job, claim it, and settle it as waiting; return its lease and the outcome."""

    async def wait(*signals, after_ms=None, **request):
        await producer.submit(JobRequest(kind="x", **request))
        (lease,) = await consumer.claim(1)
        return lease, await consumer.settle([waiting(lease, *signals, after_ms=after_ms)])

    return wait


def waiting(lease, *signals, after_ms=None):
    return Waiting(job_id=lease.job_id, token=lease.token, signals=signals, after_ms=after_ms)


async def jump(redis, pool, by_ms):
    await redis.hincrby(f"ap:{{{pool}}}:counters", "clock_offset_ms", by_ms)


async def test_a_waiting_job_has_no_slot_and_no_place_among_the_ready(redis, pool, inspector, consumer, wait):
    """The job is waiting in lists and figures, counts no attempt, and adds no demand."""
    lease, outcomes = await wait(("approval", 1), after_ms=60_000)
    assert outcomes == [SettleOutcome.WAITING]
    assert await consumer.claim(5) == []
    snapshot = await inspector.snapshot(pool)
    assert (snapshot.waiting, snapshot.running, snapshot.queued, snapshot.scheduled) == (1, 0, 0, 0)
    assert snapshot.due == 0
    (listed,) = await inspector.jobs(pool, JobState.WAITING)
    assert listed.job_id == lease.job_id
    job = await inspector.job(pool, lease.job_id)
    assert (job.state, job.attempt, job.waits_for) == (JobState.WAITING, 0, ("approval",))
    assert job.due_at_ms == pytest.approx(job.claimed_at_ms + 60_000, abs=5_000)
    assert [entry.type for entry in job.history] == ["queued", "started", "waiting"]


async def test_a_signal_resumes_the_job_at_its_old_place(pool, producer, inspector, consumer, wait):
    """The job starts before jobs that were submitted meanwhile, in the same attempt, and with the value."""
    lease, _ = await wait(("approval", 1))
    later = await producer.submit(JobRequest(kind="x"))
    assert await producer.signal(lease.job_id, "other", 1) is SignalOutcome.STORED
    assert (await inspector.job(pool, lease.job_id)).state is JobState.WAITING
    assert await producer.signal(lease.job_id, "approval", {"ok": True}) is SignalOutcome.STORED
    again, other = await consumer.claim(2)
    assert (again.job_id, again.attempt, again.token) == (lease.job_id, 1, 2)
    assert other.job_id == later.job_id
    assert await consumer.signal_value(again, "approval", 1) == '{"ok":true}'
    assert await consumer.signal_value(again, "approval", 2) is None
    await consumer.settle([Succeeded(job_id=again.job_id, token=again.token, result=1)])
    history = [entry.type for entry in (await inspector.job(pool, lease.job_id)).history]
    assert history == ["queued", "started", "waiting", "signalled", "signalled", "resumed", "started", "succeeded"]


async def test_a_signal_wakes_an_idle_worker(producer, consumer, wait):
    """The bell rings for a signal as for a submitted job."""
    lease, _ = await wait(("go", 1))
    await consumer.wait(1)  # an earlier ring
    claiming = asyncio.create_task(consumer.wait_and_claim(20_000, 5))
    await asyncio.sleep(0)
    await producer.signal(lease.job_id, "go")
    _, (again,) = await claiming
    assert again.job_id == lease.job_id


async def test_an_early_signal_ends_the_wait_at_once(producer, consumer, wait):
    """No signal is lost: not while the job was queued, while it ran, or between its check and its wait."""
    receipt = await producer.submit(JobRequest(kind="x"))
    await producer.signal(receipt.job_id, "go", 1)
    (lease,) = await consumer.claim(1)
    await producer.signal(receipt.job_id, "go", 2)
    assert await consumer.settle([waiting(lease, ("go", 2))]) == [SettleOutcome.WAITING]
    (again,) = await consumer.claim(1)
    assert (again.attempt, again.token) == (1, 2)
    assert [await consumer.signal_value(again, "go", number) for number in (1, 2, 3)] == ["1", "2", None]


async def test_a_signal_of_one_id_counts_once(producer, consumer, wait):
    """A repeated signal does not count, even after the end of the job."""
    lease, _ = await wait(("go", 2))
    assert await producer.signal(lease.job_id, "go", 1, signal_id="a b") is SignalOutcome.STORED
    assert await producer.signal(lease.job_id, "go", 2, signal_id="a b") is SignalOutcome.DUPLICATE
    assert await consumer.claim(1) == []
    assert await producer.signal(lease.job_id, "go", 3, signal_id="c") is SignalOutcome.STORED
    (again,) = await consumer.claim(1)
    assert await consumer.signal_value(again, "go", 2) == "3"
    await consumer.settle([Succeeded(job_id=again.job_id, token=again.token)])
    assert await producer.signal(lease.job_id, "go", 3, signal_id="c") is SignalOutcome.DUPLICATE


async def test_a_wait_ends_at_its_time(redis, pool, inspector, consumer, wait):
    """A wait ends at its time, by the maintenance of any worker; until then the snapshot counts due work."""
    lease, _ = await wait(("go", 1), after_ms=60_000)
    endless, _ = await wait(("go", 1))
    assert (await consumer.maintain()).promoted == 0
    await jump(redis, pool, 30_000)
    await consumer.register(slots=5, host="h")
    assert (await consumer.maintain()).next_due_ms <= 30_000
    await jump(redis, pool, 31_000)
    await consumer.register(slots=5, host="h")
    assert (await inspector.snapshot(pool)).due == 1
    assert (await consumer.maintain()).promoted == 1
    assert (await inspector.snapshot(pool)).due == 0
    (again,) = await consumer.claim(5)
    assert again.job_id == lease.job_id
    assert (await inspector.job(pool, endless.job_id)).state is JobState.WAITING


async def test_a_wait_until_a_past_time_is_ready_at_once(consumer, wait):
    """The job is ready without maintenance."""
    lease, _ = await wait(after_ms=0)
    (again,) = await consumer.claim(1)
    assert again.job_id == lease.job_id


async def test_a_repeated_settle_has_the_same_outcome(producer, consumer, wait):
    """The answer was lost: the job still waits, has been resumed, was cancelled, or has continued."""
    lease, _ = await wait(("go", 1))
    assert await consumer.settle([waiting(lease, ("go", 1))]) == [SettleOutcome.WAITING]
    await producer.signal(lease.job_id, "go")
    assert await consumer.settle([waiting(lease, ("go", 1))]) == [SettleOutcome.WAITING]
    (again,) = await consumer.claim(1)
    assert await consumer.settle([waiting(lease, ("go", 1))]) == [SettleOutcome.STALE]
    await consumer.settle([waiting(again, ("go", 2))])
    await producer.cancel(lease.job_id)
    assert await consumer.settle([waiting(again, ("go", 2))]) == [SettleOutcome.CANCELLED]


async def test_a_waiting_job_can_be_cancelled(redis, pool, producer, inspector, wait):
    """The job ends at once, without a worker."""
    lease, _ = await wait(("go", 1), after_ms=60_000)
    assert (await producer.cancel(lease.job_id)).value == "cancelled"
    assert (await inspector.snapshot(pool)).waiting == 0
    with pytest.raises(SignalRefusedError, match="the job has ended as cancelled; read"):
        await producer.signal(lease.job_id, "go")


async def test_a_cancellation_while_the_job_runs_comes_before_its_wait(producer, consumer, inspector, pool):
    """A job that is to stop does not wait."""
    receipt = await producer.submit(JobRequest(kind="x"))
    (lease,) = await consumer.claim(1)
    await producer.cancel(receipt.job_id)
    assert await consumer.settle([waiting(lease, ("go", 1))]) == [SettleOutcome.CANCELLED]


async def test_invalid_signals_are_refused(producer, wait):
    """Each invalid signal is a typed error with field, value and remedy; the queue stores nothing."""
    with pytest.raises(UnknownJobError):
        await producer.signal(JobId("nobody"), "go")
    lease, _ = await wait(("go", 1))
    with pytest.raises(InvalidJobError, match="signal: 'a b': not a name of a signal; use 1 to 100 letters"):
        await producer.signal(lease.job_id, "a b")
    with pytest.raises(InvalidJobError, match="not an id of a signal; use 1 to 200"):
        await producer.signal(lease.job_id, "go", signal_id="x" * 201)
    with pytest.raises(PayloadTooLargeError):
        await producer.signal(lease.job_id, "go", "x" * 2_000_000)


async def test_a_job_takes_a_bounded_number_of_signals(redis, pool, producer, wait):
    """A sender in an endless loop does not fill the server."""
    lease, _ = await wait(("go", 1))
    await redis.hset(f"ap:{{{pool}}}:job:{lease.job_id}", "signals", MAX_SIGNALS)
    with pytest.raises(SignalRefusedError, match="has 1000 signals already; send fewer"):
        await producer.signal(lease.job_id, "go")


async def test_waits_last_over_the_loss_of_keys(redis, pool, consumer, wait, producer):
    """Maintenance restores the order of waits from the records, and removes members without a record."""
    lease, _ = await wait(("go", 1), after_ms=60_000)
    prefix = f"ap:{{{pool}}}:"
    before = await redis.zscore(f"{prefix}waiting", lease.job_id)
    await redis.delete(f"{prefix}waiting")
    await redis.zadd(f"{prefix}waiting", {"gone": 5})
    found = await audit(redis, pool, repair=True)
    assert {(each.kind.value, each.what) for each in found} == {("order_lost", lease.job_id), ("member_gone", "gone")}
    assert await redis.zrange(f"{prefix}waiting", 0, -1, withscores=True) == [(lease.job_id, before)]
    assert await audit(redis, pool) == []
    await redis.hdel(f"{prefix}job:{lease.job_id}", "entry")  # and its stream entry may be lost
    await producer.signal(lease.job_id, "go")
    assert [each.job_id for each in await consumer.claim(1)] == [lease.job_id]


async def test_a_waiting_critical_job_asks_for_a_slot_when_it_resumes(redis, pool, producer, consumer, wait):
    """A preemptible job is asked to yield, as for a submitted job."""
    lease, _ = await wait(("go", 1), priority=Priority.CRITICAL)
    await producer.submit(JobRequest(kind="x", preemptible=True))
    assert len(await consumer.claim(1)) == 1
    await consumer.renew(slots=1, running=1)
    await producer.signal(lease.job_id, "go")
    assert any("yield" in order for order in await redis.lrange(f"ap:{{{pool}}}:ctl:{consumer.worker}", 0, -1))


async def test_purge_and_settings_leave_nothing_of_waiting_jobs(redis, pool, inspector, wait):
    """A purge deletes the key of the waits and the records."""
    await inspector.configure(pool, PoolSettings())
    await wait(("go", 1))
    await inspector.purge(pool)
    assert await redis.keys(f"ap:{{{pool}}}:*") == []


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(("wait", text) for text in ("", "x", "\x1b")),
        *((field, text) for field in ("signals", "sigs:approval") for text in ("x", "9" * 400, "-5", "1.5", "9" * 15)),
    ],
)
async def test_an_unreadable_field_of_a_wait_keeps_no_job_waiting(redis, pool, producer, consumer, wait, field, text):
    """The next signal is stored and resumes the job, whose handler waits again if it must."""
    lease, _ = await wait(("approval", 1))
    await redis.hset(f"ap:{{{pool}}}:job:{lease.job_id}", field, text)
    assert await producer.signal(lease.job_id, "approval", "yes") is SignalOutcome.STORED
    assert [found.job_id for found in await consumer.claim(5)] == [lease.job_id]
    assert await redis.hget(f"ap:{{{pool}}}:job:{lease.job_id}", "sig:approval=1") == '"yes"'
