"""Groups of children against a real server: ends, results, signals, and children that run again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentpool_core.errors import StaleLeaseError
from agentpool_core.jobs import GroupMember, JobId, JobRequest, JobState, LeaseToken, StartedBy, WorkerId
from agentpool_core.queue import Consumer, Inspector, Producer
from agentpool_core.queue.audit import audit
from agentpool_core.queue.completions import Cancelled, CancelOutcome, Failed, SettleOutcome, Succeeded, Waiting
from agentpool_core.queue.groups import MAX_RESULT_BYTES, GroupChange

GROUP = "ab12"


@pytest.fixture
def producer(redis, pool):
    return Producer(redis, pool)


@pytest.fixture
def inspector(redis, pool):
    return Inspector(redis)


@pytest.fixture
async def consumer(redis, pool):
    consumer = Consumer(redis, pool, WorkerId("w"))
    await consumer.register(slots=20, host="h")
    return consumer


class Family:
    """A running parent with a group of children."""

    def __init__(self, producer, consumer, lease, size, *, fail_fast=True, max_running=None):
        self.producer, self.consumer, self.lease = producer, consumer, lease
        self.requests = [
            JobRequest(
                kind="child",
                payload=number,
                job_id=JobId(f"{lease.job_id}:{number}"),
                started_by=StartedBy(
                    job_id=lease.job_id,
                    inherit_tenant=True,
                    inherit_tags=True,
                    member=GroupMember(
                        group=GROUP, number=number, size=size, fail_fast=fail_fast, max_running=max_running
                    ),
                ),
            )
            for number in range(size)
        ]

    @property
    def ids(self):
        return [(number, request.job_id) for number, request in enumerate(self.requests)]

    async def start(self):
        return await self.producer.submit_many(self.requests)

    async def wait(self, run=1):
        waiting = Waiting(job_id=self.lease.job_id, token=self.lease.token, signals=((f"~{GROUP}", run),))
        return await self.consumer.settle([waiting])

    async def end(self, *ends):
        """Claim and end children, in the order of the queue."""
        for lease, end in zip(await self.consumer.claim(len(ends)), ends, strict=True):
            await self.consumer.settle([end(lease)])

    async def ends(self):
        found = await self.consumer.child_ends(self.lease, GROUP, len(self.requests))
        return [None if end is None else (end.state.value, end.text) for end in found]


def succeed(lease):
    return Succeeded(job_id=lease.job_id, token=lease.token, result=[lease.payload])


def fail(lease):
    return Failed(job_id=lease.job_id, token=lease.token, error="no", retry=False)


def cancel(lease):
    return Cancelled(job_id=lease.job_id, token=lease.token)


@pytest.fixture
def family(producer, consumer):
    """Submit and claim a parent."""

    async def family(size, *, fail_fast=True, max_running=None, **request):
        await producer.submit(JobRequest(kind="parent", job_id=JobId("p"), **request))
        (lease,) = await consumer.claim(1)
        return Family(producer, consumer, lease, size, fail_fast=fail_fast, max_running=max_running)

    return family


async def test_the_last_child_resumes_the_parent(pool, inspector, consumer, family):
    """The results stand with the parent, in order, whatever order the children end in."""
    group = await family(3, tenant="acme", tags=("night",))
    assert not any(receipt.duplicate for receipt in await group.start())
    assert await group.wait() == [SettleOutcome.WAITING]
    assert (await inspector.job(pool, JobId("p"))).waits_for_children
    child = await inspector.job(pool, JobId("p:1"))
    assert (child.tenant, child.tags, child.started_by) == ("acme", ("night",), "p")
    await group.end(succeed, succeed)
    assert (await inspector.job(pool, JobId("p"))).state is JobState.WAITING
    await group.end(succeed)
    (lease,) = await consumer.claim(5)
    assert (lease.job_id, lease.attempt, lease.token) == ("p", 1, 2)
    assert await group.ends() == [("succeeded", f"[{number}]") for number in range(3)]
    await consumer.settle([succeed(lease)])


async def test_a_repeated_submit_changes_nothing_and_an_early_end_is_not_lost(consumer, family):
    """An attempt that is repeated finds the same children; children that end before the wait count."""
    group = await family(2)
    await group.start()
    await group.end(succeed, succeed)
    assert all(receipt.duplicate for receipt in await group.start())
    await group.wait()
    (lease,) = await consumer.claim(5)
    assert lease.job_id == "p"


async def test_a_group_bounds_its_children_that_run_at_once(redis, pool, inspector, consumer, family):
    """The rest waits for the group and blocks no other job; with the end of the parent the bound is gone."""
    group = await family(5, max_running=2)
    await group.start()
    await group.producer.submit(JobRequest(kind="other", job_id=JobId("other")))
    first, second, other = await consumer.claim(10)
    assert (first.job_id, second.job_id, other.job_id) == ("p:0", "p:1", "other")
    assert await consumer.claim(10) == []
    assert (await inspector.job(pool, JobId("p:2"))).held_by == "+map"
    assert (await inspector.snapshot(pool)).held == 3
    await consumer.settle([succeed(first)])
    assert [lease.job_id for lease in await consumer.claim(10)] == ["p:2"]
    assert await audit(redis, pool, repair=False) == []
    await consumer.settle([fail(group.lease)])
    await redis.delete(f"ap:{{{pool}}}:group:p")
    await consumer.settle([succeed(second)])
    assert [lease.job_id for lease in await consumer.claim(10)] == ["p:3", "p:4"]


async def test_the_first_failure_ends_a_wait_and_the_rest_can_be_stopped(pool, inspector, consumer, family):
    """The records of the other children name the reason; a child that runs is asked to stop."""
    group = await family(4)
    await group.start()
    await group.wait()
    await group.end(succeed, fail)
    (group.lease, running) = await consumer.claim(2)
    assert (group.lease.job_id, running.job_id) == ("p", "p:2")
    left, gone = await consumer.change_group(
        group.lease, GroupChange.STOP, GROUP, group.ids, "upstream: job p:1 failed: no"
    )
    assert (left, gone) == (1, [])
    stopped = await inspector.job(pool, JobId("p:3"))
    assert (stopped.state, stopped.reason) == ("cancelled", "upstream: job p:1 failed: no")
    assert (await inspector.job(pool, JobId("p:2"))).cancel_requested
    await consumer.settle([cancel(running)])
    assert [end[0] for end in await group.ends()] == ["succeeded", "failed", "cancelled", "cancelled"]


async def test_a_group_without_fail_fast_waits_for_all(pool, inspector, family):
    """A failure is one of the ends."""
    group = await family(2, fail_fast=False)
    await group.start()
    await group.wait()
    await group.end(fail)
    assert (await inspector.job(pool, JobId("p"))).state is JobState.WAITING
    await group.end(succeed)
    assert (await inspector.job(pool, JobId("p"))).state is JobState.QUEUED
    assert await group.ends() == [("failed", "no"), ("succeeded", "[1]")]


async def test_children_that_did_not_succeed_run_again(redis, pool, inspector, consumer, family):
    """A replayed parent keeps the results of the others; a child without a record is named."""
    group = await family(4, fail_fast=False)
    await group.start()
    await group.wait()
    await group.end(succeed, fail, cancel, fail)
    (group.lease,) = await consumer.claim(5)
    for change in (GroupChange.CLEAR, GroupChange.CLEAR):  # repeated after a lost answer
        assert (await consumer.change_group(group.lease, change, GROUP, group.ids, 2))[0] == 3
    await redis.delete(f"ap:{{{pool}}}:job:p:3")
    assert await consumer.change_group(group.lease, GroupChange.RERUN, GROUP, group.ids, 2) == (3, [3])
    await group.start()
    await group.wait(run=2)
    await group.end(succeed, succeed, succeed)
    (group.lease,) = await consumer.claim(5)
    assert await group.ends() == [("succeeded", f"[{number}]") for number in range(4)]


async def test_a_replayed_child_ends_once(pool, inspector, consumer, family):
    """Its second end neither counts again nor changes the result that the parent may have seen."""
    group = await family(3, fail_fast=False)
    await group.start()
    await group.wait()
    await group.end(fail)
    await inspector.replay(pool, JobId("p:0"))
    first, last, again = await consumer.claim(3)
    assert again.job_id == "p:0"
    await consumer.settle([succeed(again), succeed(first)])
    assert (await inspector.job(pool, JobId("p"))).state is JobState.WAITING
    await consumer.settle([succeed(last)])
    assert [end[0] for end in await group.ends()] == ["failed", "succeeded", "succeeded"]


async def test_a_cancelled_parent_cancels_the_children_that_it_waits_for(pool, inspector, producer, consumer, family):
    """Without `tree` single children go on; the records name the ancestor and the reason."""
    group = await family(250)
    await group.start()
    single = replace(group.requests[0], job_id=JobId("single"), started_by=StartedBy(job_id=JobId("p")))
    await producer.submit(single)
    (running,) = await consumer.claim(1)
    await group.wait()
    assert await producer.cancel(JobId("p"), reason="too late") is CancelOutcome.CANCELLED
    last = await inspector.job(pool, JobId("p:249"))
    assert (last.state, last.reason) == ("cancelled", "upstream: job p cancelled: too late")
    assert (await inspector.job(pool, running.job_id)).cancel_requested
    await consumer.settle([cancel(running)])
    assert (await inspector.job(pool, JobId("single"))).state is JobState.QUEUED
    assert await producer.cancel(JobId("p"), tree=True) is CancelOutcome.FINISHED
    assert (await inspector.job(pool, JobId("single"))).reason == "upstream: job p cancelled: requested"


async def test_a_tree_is_cancelled_to_its_leaves(pool, inspector, producer, consumer, family):
    """Leaves of ended jobs are cancelled too, and so are children that a running job starts before its stop."""
    group = await family(2)
    await group.start()
    (ended, running) = await consumer.claim(2)
    for parent in (ended, running):
        leaf = JobRequest(
            kind="leaf", job_id=JobId(f"leaf-{parent.job_id}"), started_by=StartedBy(job_id=parent.job_id)
        )
        await producer.submit(leaf)
    await consumer.settle([succeed(ended)])
    assert await producer.cancel(JobId("p"), reason="wrong model", tree=True) is CancelOutcome.REQUESTED
    for leaf in ("leaf-p:0", "leaf-p:1"):
        assert (await inspector.job(pool, JobId(leaf))).reason == "upstream: job p cancelled: wrong model"
    late = JobRequest(kind="leaf", job_id=JobId("late"), started_by=StartedBy(job_id=running.job_id))
    assert (await producer.submit(late)).state is JobState.CANCELLED
    await consumer.settle([cancel(running), cancel(group.lease)])
    await consumer.maintain()
    assert (await inspector.job(pool, JobId("p"))).state is JobState.CANCELLED
    assert (await inspector.job(pool, running.job_id)).state is JobState.CANCELLED


async def test_a_lease_that_has_passed_on_changes_no_children(consumer, family):
    """An attempt that was lost cannot stop the children of the next."""
    group = await family(2)
    await group.start()
    group.lease.token = LeaseToken(7)
    with pytest.raises(StaleLeaseError):
        await consumer.change_group(group.lease, GroupChange.STOP, GROUP, group.ids, "upstream: job p:1 failed: no")


async def test_an_ended_parent_starts_no_group(pool, inspector, producer, consumer, family):
    """A lost attempt that submits late gets cancelled children, and no keys stay behind."""
    group = await family(2)
    await consumer.settle([fail(group.lease)])
    assert [receipt.state for receipt in await group.start()] == [JobState.CANCELLED] * 2
    assert (await inspector.job(pool, JobId("p:0"))).reason == "upstream: job p failed"


async def test_results_of_children_are_bounded(consumer, family):
    """A child whose result does not fit counts as failed, with the remedy."""
    group = await family(20, fail_fast=False)
    await group.start()
    size = MAX_RESULT_BYTES // 18
    for lease in await consumer.claim(20):
        await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token, result="x" * size)])
    states = [end[0] for end in await group.ends()]
    assert (states.count("succeeded"), states.count("failed")) == (17, 3)
    assert "return a reference" in (await group.ends())[19][1]


async def test_an_audit_finds_nothing_wrong_with_groups(redis, pool, family):
    """The audit has no finding before and after the ends of the children."""
    group = await family(2)
    await group.start()
    await group.wait()
    assert await audit(redis, pool, repair=False) == []
    await group.end(succeed, succeed)
    assert await audit(redis, pool, repair=False) == []


async def test_a_parent_submitted_again_waits_for_no_child_that_has_ended(inspector, pool, family):
    """Ends of children that outlive the deleted record of their parent count in the new group, each once."""
    group = await family(2)
    await group.start()
    await group.end(succeed, fail)
    await group.consumer.settle([fail(group.lease)])
    await inspector.discard(pool, [JobId("p")])
    again = await family(2)
    for _ in range(2):  # the second call repeats the first
        assert all(receipt.duplicate for receipt in await again.start())
    assert await again.wait() == [SettleOutcome.WAITING]
    (lease,) = await again.consumer.claim(5)
    assert lease.job_id == "p"
    assert await again.ends() == [("succeeded", "[0]"), ("failed", "no")]


async def test_a_child_that_somebody_has_submitted_before_counts(producer, family):
    """The id of a child can be computed: a job of that id and body joins the group, and its end resumes the parent."""
    group = await family(2)
    await producer.submit(JobRequest(kind="child", payload=0, job_id=JobId("p:0")))
    assert [receipt.duplicate for receipt in await group.start()] == [True, False]
    assert await group.wait() == [SettleOutcome.WAITING]
    await group.end(succeed, succeed)
    assert [lease.job_id for lease in await group.consumer.claim(5)] == ["p"]
    assert await group.ends() == [("succeeded", "[0]"), ("succeeded", "[1]")]
