"""Replay of a failed job with everything downstream of it, against a real server."""

from __future__ import annotations

import itertools

import pytest

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import JobId, JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer, scripts
from agentpool_core.queue.audit import audit
from agentpool_core.queue.completions import Failed, Succeeded
from agentpool_core.queue.keys import Keys
from agentpool_core.queue.selector import JobSelector


class Pipeline:
    """Jobs named by their ids, and a worker."""

    def __init__(self, redis, pool) -> None:
        self.redis, self.pool = redis, pool
        self.producer, self.inspector = Producer(redis, pool), Inspector(redis)
        self.consumer = Consumer(redis, pool, WorkerId("w"))

    async def submit(self, **parents):
        """Submit jobs; each names its parents, separated by blanks."""
        await self.producer.submit_many(
            [
                JobRequest(kind="k", job_id=JobId(name), after=tuple(map(JobId, after.split())))
                for name, after in parents.items()
            ]
        )

    async def end(self, *names, succeed=True):
        """Claim and end exactly these jobs."""
        leases = await self.consumer.claim(1_000)
        assert {lease.job_id for lease in leases} == set(names)
        for lease in leases:
            ids = {"job_id": lease.job_id, "token": lease.token}
            end = Succeeded(**ids, result=lease.job_id) if succeed else Failed(**ids, error="no", retry=False)
            await self.consumer.settle([end])
        return leases

    async def states(self, *names):
        jobs = [await self.inspector.job(self.pool, JobId(name)) for name in names]
        return " ".join(job.state.value for job in jobs)

    async def reason(self, name):
        return (await self.inspector.job(self.pool, JobId(name))).reason

    async def replay(self, name):
        return await self.inspector.replay(self.pool, JobId(name), downstream=True)


@pytest.fixture
async def pipeline(redis, pool):
    pipeline = Pipeline(redis, pool)
    await pipeline.consumer.register(slots=1_000, host="h")
    return pipeline


async def test_a_fan_in_runs_again_with_the_results_of_the_parents_that_succeeded(pipeline):
    """Only the failed part runs again; the end of the pipeline gets every result."""
    await pipeline.submit(good="", bad="", middle="bad", last="good middle bad")
    leases = await pipeline.consumer.claim(10)
    await pipeline.consumer.settle(
        [
            Succeeded(job_id=leases[0].job_id, token=leases[0].token, result="first"),
            Failed(job_id=leases[1].job_id, token=leases[1].token, error="no", retry=False),
        ]
    )
    assert await pipeline.states("middle", "last") == "cancelled cancelled"
    assert await pipeline.replay("bad") == 2
    assert await pipeline.states("good", "bad", "middle", "last") == "succeeded queued blocked blocked"
    await pipeline.end("bad")
    await pipeline.end("middle")
    (last,) = await pipeline.end("last")
    assert last.parents == {"good": "first", "bad": "bad", "middle": "middle"}
    assert await audit(pipeline.redis, pipeline.pool) == []


async def test_a_second_failed_ancestor_keeps_its_own_descendants(pipeline):
    """A job with two failed ancestors stays cancelled, names the other one, and is restored by a replay of that one."""
    await pipeline.submit(one="", two="", both="one two", below="both", single="one")
    await pipeline.end("one", "two", succeed=False)
    assert await pipeline.reason("both") == "upstream: job one failed: no"
    await pipeline.replay("one")
    assert await pipeline.states("single", "both", "below") == "blocked cancelled cancelled"
    assert await pipeline.reason("below") == "upstream: job two failed: no"
    await pipeline.end("one")
    await pipeline.end("single")
    assert await pipeline.replay("two") == 2
    await pipeline.end("two")
    await pipeline.end("both")
    await pipeline.end("below")


async def test_a_thousand_descendants_are_restored_in_steps_that_maintenance_continues(pipeline):
    """One step restores a part; a caller that dies after the first step leaves nothing behind."""
    names = [f"d{number}" for number in range(1_000)]
    fan = dict.fromkeys(names[:500], "root")
    chain = {name: before for before, name in itertools.pairwise(names[499:])}
    await pipeline.submit(root="", **fan, **chain)
    await pipeline.end("root", succeed=False)
    while (await pipeline.consumer.maintain()).next_due_ms == 0:
        pass
    assert await pipeline.inspector.select(pipeline.pool, _in(JobState.CANCELLED)).count() == 1_000
    assert await scripts.REPLAY.run(pipeline.redis, Keys(pipeline.pool).conf, ("root", "downstream")) == ["ok", 1000, 1]
    cancelled = await pipeline.inspector.select(pipeline.pool, _in(JobState.CANCELLED)).count()
    assert 0 < cancelled < 1_000
    while (await pipeline.consumer.maintain()).next_due_ms == 0:
        pass
    assert await pipeline.inspector.select(pipeline.pool, _in(JobState.BLOCKED)).count() == 1_000
    assert await audit(pipeline.redis, pipeline.pool) == []


async def test_a_replay_of_a_replayed_job_restores_what_is_still_cancelled(pipeline):
    """A plain replay comes first; the jobs downstream are restored later, and get the result that is there by then."""
    await pipeline.submit(root="", child="root")
    await pipeline.end("root", succeed=False)
    await pipeline.inspector.replay(pipeline.pool, JobId("root"))
    await pipeline.end("root")
    assert await pipeline.states("child") == "cancelled"
    assert await pipeline.replay("root") == 1
    (child,) = await pipeline.end("child")
    assert child.parents == {"root": "root"}


async def test_a_restored_job_that_was_submitted_late_waits_for_the_replayed_parent(pipeline):
    """The audit counts the parent, although its failure had ended the job at the submit."""
    await pipeline.submit(a="")
    await pipeline.end("a", succeed=False)
    await pipeline.submit(b="a")
    assert await pipeline.replay("a") == 1
    assert await audit(pipeline.redis, pipeline.pool, repair=True) == []
    assert await pipeline.states("a", "b") == "queued blocked"


async def test_a_second_failure_cancels_the_jobs_downstream_again(pipeline):
    """Each replay restores them again, and jobs that were submitted after the failure, too."""
    await pipeline.submit(root="", child="root")
    for _ in range(2):
        await pipeline.end("root", succeed=False)
        assert await pipeline.states("child") == "cancelled"
        await pipeline.replay("root")
        assert await pipeline.states("child") == "blocked"
    await pipeline.end("root", succeed=False)
    await pipeline.submit(late="child root")
    assert await pipeline.states("late") == "cancelled"
    assert await pipeline.replay("root") == 2
    assert await pipeline.states("child", "late") == "blocked blocked"


async def test_a_job_that_is_cancelled_twice_is_listed_and_counted_once(pipeline):
    """The entry of its first cancellation no longer stands for a job that was restored."""
    await pipeline.submit(root="", child="root", other="")
    await pipeline.producer.cancel(JobId("other"))
    for _ in range(3):
        await pipeline.end("root", succeed=False)
        page = await pipeline.inspector.find(pipeline.pool, _in(JobState.CANCELLED))
        assert [job.job_id for job in page.jobs] == ["child", "other"]
        assert await pipeline.inspector.select(pipeline.pool, _in(JobState.CANCELLED)).count() == 2
        await pipeline.replay("root")


async def test_a_parent_without_a_record_dooms_a_job(pipeline):
    """The reason says so; the other jobs downstream are restored."""
    await pipeline.submit(root="", lost="root", child="lost", other="root")
    await pipeline.end("root", succeed=False)
    await pipeline.redis.delete(Keys(pipeline.pool).job(JobId("lost")))
    await pipeline.replay("root")
    assert await pipeline.states("child", "other") == "cancelled blocked"
    assert await pipeline.reason("child") == "upstream: job lost is gone"


async def test_only_a_failed_or_replayed_job_is_replayed(pipeline):
    """A job that was cancelled is refused with its state; nothing is restored."""
    await pipeline.submit(root="", child="root")
    await pipeline.producer.cancel(JobId("root"))
    with pytest.raises(InvalidJobError, match="it is cancelled, not failed"):
        await pipeline.replay("root")
    assert await pipeline.states("child") == "cancelled"


def _in(state):
    return JobSelector(states=(state,))
