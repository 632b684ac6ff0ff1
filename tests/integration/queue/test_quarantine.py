"""Quarantine: a job that was running at two worker losses runs alone, so the queue can identify the culprit."""

from __future__ import annotations

import pytest

from agentpool_core.jobs import JobId, JobRequest, JobState, Step, StepOutcome, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, Route
from agentpool_core.queue.completions import CancelOutcome, Failed, Returned, ReturnReason, Succeeded

LEASE_MS = 60_000


class Crew:
    """Workers of one pool, and their jobs."""

    def __init__(self, redis, pool) -> None:
        self._redis, self._pool = redis, pool
        self.producer = Producer(redis, pool)
        self.inspector = Inspector(redis)

    async def worker(self, name="w1", slots=10) -> Consumer:
        consumer = Consumer(self._redis, self._pool, WorkerId(name))
        await consumer.register(slots=slots, host="here")
        return consumer

    async def submit(self, count=1, **fields) -> list[JobId]:
        fields.setdefault("kind", "k")
        receipts = await self.producer.submit_many([JobRequest(**fields)] * count)
        return [receipt.job_id for receipt in receipts]

    async def crash(self, worker: Consumer, how="killed by SIGSEGV", culprits=(), *, explained=True) -> Consumer:
        """End the worker's process a second later, and start a process of the same name."""
        await self._redis.hincrby(f"ap:{{{self._pool}}}:counters", "clock_offset_ms", 1_000)
        again = Consumer(self._redis, self._pool, worker.worker)
        await again.report_crash(how, culprits, explained=explained)
        await again.register(slots=10, host="here")
        return again

    async def lose(self, worker: Consumer) -> None:
        """Silence the worker until another worker notices."""
        await self._redis.hincrby(f"ap:{{{self._pool}}}:counters", "clock_offset_ms", 2 * LEASE_MS)
        watcher = await self.worker(f"watcher-of-{worker.worker}")
        await watcher.maintain()
        await watcher.deregister()

    async def suspects(self, count=1, worker="w1", **fields) -> tuple[list[JobId], Consumer]:
        """Put jobs into quarantine by two crashes."""
        ids = await self.submit(count, **fields)
        consumer = await self.worker(worker)
        for _ in range(2):
            assert len(await consumer.claim(count)) == count
            consumer = await self.crash(consumer)
        return ids, consumer

    async def job(self, job_id):
        return await self.inspector.job(self._pool, job_id)

    async def snapshot(self):
        return await self.inspector.snapshot(self._pool)


@pytest.fixture
async def crew(redis, pool):
    await Inspector(redis).configure(pool, PoolSettings(lease_ms=LEASE_MS))
    return Crew(redis, pool)


def finished_step(number: int) -> Step:
    return Step(
        number=number, name=f"s{number}", outcome=StepOutcome.SUCCEEDED, attempt=1, started_at_ms=1, duration_ms=1
    )


def done(lease) -> Succeeded:
    return Succeeded(job_id=lease.job_id, token=lease.token)


async def test_the_first_loss_costs_an_attempt_and_no_more(crew):
    """All jobs of a crashed worker run again at once, at their places, with the evidence as their error."""
    ids = await crew.submit(3)
    worker = await crew.worker()
    await worker.claim(3)
    worker = await crew.crash(worker, "killed by SIGKILL")
    assert [lease.job_id for lease in await worker.claim(3)] == ids
    job = await crew.job(ids[0])
    assert (job.attempt, job.losses, job.quarantined) == (2, 1, False)
    assert job.last_error == "killed by SIGKILL"


async def test_after_the_second_loss_jobs_run_one_at_a_time(crew):
    """Each suspect runs alone, the oldest first, however many workers are idle; innocent jobs succeed."""
    ids, worker = await crew.suspects(3)
    idle = await crew.worker("idle")
    assert (await crew.snapshot()).quarantined == 3
    for job_id in ids:
        assert (await crew.job(job_id)).quarantined
        (lease,) = await worker.claim(10)
        assert lease.job_id == job_id
        assert (await crew.job(job_id)).quarantined
        assert await worker.claim(10) == await idle.claim(10) == []
        await worker.settle([done(lease)])
        assert (await crew.job(job_id)).state is JobState.SUCCEEDED
    (plain,) = await crew.submit()
    assert [lease.job_id for lease in await worker.claim(10)] == [plain]
    snapshot = await crew.snapshot()
    assert (snapshot.quarantined, snapshot.reserved) == (0, None)


async def test_a_job_that_ends_its_worker_while_running_alone_is_poison(crew):
    """The culprit is a dead letter with reason and evidence; the jobs lost beside the culprit are not."""
    ids, worker = await crew.suspects(2)
    await worker.claim(10)
    worker = await crew.crash(worker, "killed by SIGSEGV; its last words:\nFatal Python error")
    culprit, innocent = [await crew.job(job_id) for job_id in ids]
    assert (culprit.state, culprit.reason) == (JobState.FAILED, "poison")
    assert "alone" in culprit.error
    assert "SIGSEGV" in culprit.error
    assert "Fatal Python error" in culprit.error
    assert innocent.state is JobState.QUEUED
    (lease,) = await worker.claim(10)
    await worker.settle([done(lease)])
    assert (await crew.job(ids[1])).state is JobState.SUCCEEDED
    assert [entry.type for entry in culprit.history] == [
        "queued", "started", "recovered", "started", "recovered", "quarantined", "started", "failed",
    ]  # fmt: skip


async def test_no_loss_uses_up_the_last_attempt(crew):
    """A job with a single attempt survives two unrelated crashes, and keeps its attempt until it runs alone."""
    (job_id,), worker = await crew.suspects(max_attempts=1)
    (lease,) = await worker.claim(10)
    assert (lease.job_id, lease.attempt, lease.max_attempts) == (job_id, 1, 1)
    await worker.settle([done(lease)])
    assert (await crew.job(job_id)).state is JobState.SUCCEEDED


async def test_a_busy_worker_drains_before_it_gets_a_suspect(crew):
    """The only worker of a pool gets no further job until its jobs have ended, and then one suspect alone."""
    (suspect,), worker = await crew.suspects()
    helper = await crew.worker("w2")
    await crew.submit(2)
    (alone,) = await worker.claim(10)
    assert alone.job_id == suspect
    others = await helper.claim(10)
    assert len(others) == 2
    await worker.settle([Returned(job_id=alone.job_id, token=alone.token, reason=ReturnReason.DRAIN)])
    await worker.deregister()
    (later,) = await crew.submit()
    assert await helper.claim(10) == []
    assert (await crew.snapshot()).reserved == "w2"
    outcomes, leases = await helper.exchange([done(others[0])], 9)
    assert (outcomes, leases) == (["applied"], [])
    _, leases = await helper.exchange([done(others[1])], 10)
    assert [lease.job_id for lease in leases] == [suspect]
    assert (await helper.exchange([done(leases[0])], 10))[1][0].job_id == later


async def test_an_idle_worker_precedes_a_busy_reserved_worker(crew):
    """The suspect waits only for the first worker without jobs, and the busy worker claims again."""
    (suspect,), worker = await crew.suspects()
    (first,) = await worker.claim(10)
    busy = await crew.worker("busy")
    await crew.submit(2)
    (held,) = await busy.claim(1)
    await worker.settle([Returned(job_id=first.job_id, token=first.token, reason=ReturnReason.DRAIN)])
    await worker.deregister()
    assert await busy.claim(9) == []
    idle = await crew.worker("idle")
    (lease,) = await idle.claim(10)
    assert lease.job_id == suspect
    assert len(await busy.claim(9)) == 1
    assert held.job_id != suspect


async def test_a_suspect_that_fails_without_a_crash_is_cleared(crew):
    """The worker survives, so the job is retried beside regular jobs, with its attempts unchanged."""
    (job_id,), worker = await crew.suspects()
    (lease,) = await worker.claim(10)
    await worker.settle([Failed(job_id=job_id, token=lease.token, error="no", retry_after_ms=0)])
    await worker.maintain()
    job = await crew.job(job_id)
    assert (job.state, job.losses, job.quarantined) == (JobState.QUEUED, 0, False)


async def test_an_unexplained_loss_is_no_verdict(crew):
    """A suspect with a silent worker runs alone once more, because the node may have failed.

    The fourth loss is a verdict.
    """
    (job_id,), worker = await crew.suspects()
    await worker.claim(10)
    await crew.lose(worker)
    job = await crew.job(job_id)
    assert (job.state, job.losses) == (JobState.QUEUED, 3)
    again = await crew.worker("w2")
    assert len(await again.claim(10)) == 1
    await crew.lose(again)
    job = await crew.job(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "poison")
    assert "w2" in job.error


async def test_a_restart_without_a_causing_job_is_no_verdict(crew):
    """A worker killed from outside, or in a restarted container, registers again under its name."""
    (job_id,), worker = await crew.suspects()
    await worker.claim(10)
    worker = await crew.crash(worker, "killed from outside", explained=False)
    job = await crew.job(job_id)
    assert (job.state, job.losses, job.quarantined) == (JobState.QUEUED, 3, True)
    await worker.claim(10)
    await crew.crash(worker)
    assert (await crew.job(job_id)).reason == "poison"


async def test_a_job_that_gets_on_alone_survives_any_number_of_losses(crew):
    """A new step clears the losses of a lone run; a step beside other jobs, and a repeated step, clear none."""
    (job_id,), worker = await crew.suspects()
    for number in (1, 3, 5):
        for step, losses in ((number, 0), (number + 1, 1)):
            (lease,) = await worker.claim(10)
            await worker.record_steps(lease, [finished_step(step)])
            assert (await crew.job(job_id)).losses == losses
            worker = await crew.crash(worker, "killed from outside", explained=False)
    (lease,) = await worker.claim(10)
    await worker.record_steps(lease, [finished_step(1)])
    assert (await crew.job(job_id)).losses == 2


async def test_a_known_culprit_spares_its_neighbours(crew):
    """The job that blocked the worker is known, so the remaining jobs are requeued without a loss."""
    culprit, neighbour = await crew.submit(2)
    worker = await crew.worker()
    await worker.claim(2)
    await crew.crash(worker, "blocked the event loop", [culprit])
    assert ((await crew.job(culprit)).losses, (await crew.job(culprit)).attempt) == (1, 1)
    assert ((await crew.job(neighbour)).losses, (await crew.job(neighbour)).attempt) == (0, 0)


async def test_a_worker_without_memory_requeues_jobs_with_a_loss(crew):
    """The first loss costs no attempt; the second puts the jobs into quarantine; alone, the culprit is poison."""
    ids = await crew.submit(2)
    worker = await crew.worker()
    for attempts in (0, 1):
        leases = await worker.claim(2)
        said = "the worker used 240 of 256 MiB"
        await worker.settle(
            [
                Returned(
                    job_id=one.job_id, token=one.token, reason=ReturnReason.EXHAUSTED, checkpoint={"n": 1}, said=said
                )
                for one in leases
            ]
        )
        assert [(await crew.job(job_id)).attempt for job_id in ids] == [attempts, attempts]
    (lease,) = await worker.claim(2)
    assert lease.checkpoint == {"n": 1}
    end = Returned(job_id=lease.job_id, token=lease.token, reason=ReturnReason.EXHAUSTED, said="the worker used it up")
    assert await worker.settle([end]) == ["dead"]
    job = await crew.job(ids[0])
    assert (job.state, job.reason) == (JobState.FAILED, "poison")
    assert "the worker used it up" in job.error
    assert (await crew.job(ids[1])).state is JobState.QUEUED


async def test_suspects_are_listed_cancelled_and_replayed(crew, pool):
    """Users can list, cancel and replay a job in quarantine as any job."""
    (first, second), worker = await crew.suspects(2)
    listed = await crew.inspector.jobs(pool, JobState.QUEUED)
    assert [job.job_id for job in listed] == [first, second]
    assert (await crew.snapshot()).queued == 2
    assert await crew.producer.cancel(second) is CancelOutcome.CANCELLED
    await worker.claim(10)
    worker = await crew.crash(worker)
    await crew.inspector.replay(pool, first)
    job = await crew.job(first)
    assert (job.losses, job.quarantined, job.reason, job.attempt) == (0, False, None, 0)
    assert [lease.job_id for lease in await worker.claim(10)] == [first]


async def test_a_full_route_keeps_a_suspect_waiting_and_no_worker(crew, redis, pool):
    """A suspect on a full route reserves no worker."""
    settings = PoolSettings(lease_ms=LEASE_MS, routes=(Route(name="r", kinds=("slow",), max_running=1),))
    await crew.inspector.configure(pool, settings)
    _, worker = await crew.suspects(kind="slow")
    other = await crew.worker("w2")
    await crew.submit(kind="slow")
    await redis.hset(f"ap:{{{pool}}}:counters", "r:r", 1)  # a worker runs another job of the route
    (plain,) = await crew.submit()
    assert [lease.job_id for lease in await worker.claim(10)] == [plain]
    assert (await crew.snapshot()).reserved is None
    await redis.hset(f"ap:{{{pool}}}:counters", "r:r", 0)
    assert len(await other.claim(10)) == 1


async def test_a_reserved_workers_slots_are_no_free_slots(crew, redis, pool):
    """A submit signals pressure while the only worker runs a suspect alone, whatever its slots."""
    _, worker = await crew.suspects()
    await worker.claim(10)
    await redis.hdel(f"ap:{{{pool}}}:counters", "pressure_at")
    await crew.submit()
    assert await redis.hget(f"ap:{{{pool}}}:counters", "pressure_at") is not None


async def test_a_reserved_worker_that_leaves_is_reserved_no_more(crew):
    """The next claiming worker becomes the successor; a reserved worker may not wait for work either."""
    (suspect,), worker = await crew.suspects()
    (lease,) = await worker.claim(10)
    await crew.submit()
    assert (await worker.wait_and_claim(1, 5))[1] == []
    await worker.settle([Returned(job_id=suspect, token=lease.token, reason=ReturnReason.DRAIN)])
    await worker.deregister()
    successor = await crew.worker("w2")
    assert [one.job_id for one in await successor.claim(10)] == [suspect]
