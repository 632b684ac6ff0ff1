"""Selectors on a real server: lists with cursors, counts, and changes of many jobs."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from agentpool_core.errors import InvalidJobError, RetiredPoolError
from agentpool_core.jobs import JobRequest, JobState, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, Route
from agentpool_core.queue.completions import Failed, Succeeded, Waiting
from agentpool_core.queue.error_groups import group_of
from agentpool_core.queue.selection import Change
from agentpool_core.queue.selector import UNENDED, JobSelector

ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)
EACH = 130  # jobs of each state: more than a step changes


@pytest.fixture
async def worker(redis, pool):
    """A registered worker with many slots."""
    consumer = Consumer(redis, pool, WorkerId("w"))
    await Inspector(redis).configure(pool, PoolSettings(routes=(Route(name="other", kinds=("b",)),)))
    await consumer.register(slots=1_000, host="h")
    return consumer


async def submit(redis, pool, count=EACH, **fields) -> list[str]:
    """Submit jobs, alternately of the kinds a and b; return their ids."""
    requests = [JobRequest(kind="ab"[n % 2], **fields) for n in range(count)]
    return [receipt.job_id for receipt in await Producer(redis, pool).submit_many(requests)]


async def jobs_in_every_state(redis, pool, worker) -> dict[JobState, set[str]]:
    """Return the ids of jobs in each state."""
    submitted = {
        state: await submit(redis, pool, tags=("t", state.value))
        for state in (*ENDS[:2], JobState.WAITING, JobState.RUNNING)
    }
    leases = await worker.claim(len(submitted) * EACH)
    outcome = {job_id: state for state, ids in submitted.items() for job_id in ids}
    done = [Succeeded(job_id=one.job_id, token=one.token) for one in leases if outcome[one.job_id] is ENDS[0]]
    failed = [
        Failed(job_id=one.job_id, token=one.token, error="x", retry=False)
        for one in leases
        if outcome[one.job_id] is ENDS[1]
    ]
    waiting = [
        Waiting(job_id=one.job_id, token=one.token, signals=(("approval", 1),))
        for one in leases
        if outcome[one.job_id] is JobState.WAITING
    ]
    await worker.settle([*done, *failed, *waiting])
    expired = await submit(redis, pool, ttl_ms=1, tags=("t", "expired"))
    while (await Inspector(redis).snapshot(pool)).queued:
        await worker.maintain()
    submitted[JobState.EXPIRED] = expired
    submitted[JobState.CANCELLED] = await submit(redis, pool, tags=("t", "cancelled"))
    await Inspector(redis).select(pool, JobSelector(tags=("cancelled",), states=(JobState.QUEUED,))).count()
    for job_id in submitted[JobState.CANCELLED]:
        await Producer(redis, pool).cancel(job_id)
    submitted[JobState.SCHEDULED] = await submit(redis, pool, delay_ms=600_000, tags=("t", "scheduled"))
    parent = submitted[JobState.SCHEDULED][0]
    submitted[JobState.BLOCKED] = await submit(redis, pool, after=(parent,), tags=("t", "blocked"))
    submitted[JobState.QUEUED] = await submit(redis, pool, tags=("t", "queued"))
    return {state: set(ids) for state, ids in submitted.items()}


async def test_each_state_is_listed_counted_and_paged(redis, pool, worker):
    """Pages of seven and a single page name the same jobs, each once; the count agrees."""
    ids = await jobs_in_every_state(redis, pool, worker)
    inspector = Inspector(redis)
    for state in JobState:
        selector = JobSelector(states=(state,))
        whole = await inspector.find(pool, selector, limit=1_000, bodies=False)
        assert {job.job_id for job in whole.jobs} == ids[state], state
        assert whole.cursor is None
        found, cursor = [], ""
        while cursor is not None:
            page = await inspector.find(pool, selector, limit=7, cursor=cursor, bodies=False)
            found += [job.job_id for job in page.jobs]
            cursor = page.cursor
        assert found == [job.job_id for job in whole.jobs]
        assert await inspector.select(pool, selector).count() == EACH
    assert await inspector.select(pool, JobSelector()).count() == len(JobState) * EACH
    everything = await inspector.find(pool, JobSelector(), limit=5_000, bodies=False)
    assert {job.job_id for job in everything.jobs} == set().union(*ids.values())


async def test_conditions_narrow_a_list(redis, pool, worker):
    """Kind, route, tenant, all of several tags, and the time of the submit; a tag matches as a whole."""
    first = await submit(redis, pool, 4, tags=("nightly", "customer=acme"), tenant="acme")
    await submit(redis, pool, 4, tags=("nightly-2",))
    inspector = Inspector(redis)

    async def found(**conditions) -> list[str]:
        page = await inspector.find(pool, JobSelector(**conditions))
        return [job.job_id for job in page.jobs]

    assert sorted(await found(tags=("nightly",))) == sorted(first)
    assert await found(tags=("nightly",), kinds=("a",)) == [first[0], first[2]]
    assert await found(tags=("customer=acme", "nightly"), routes=("other",)) == [first[1], first[3]]
    assert await found(tags=("nightly", "nightly-2")) == []
    assert sorted(await found(tenants=("acme", "other"))) == sorted(first)
    assert await found(tenants=("other",)) == []
    job = await inspector.job(pool, first[0])
    assert job.tags == ("nightly", "customer=acme")
    assert len(await found(submitted_after_ms=job.submitted_at_ms)) == 8
    assert await found(submitted_before_ms=job.submitted_at_ms) == []


async def test_ended_jobs_come_newest_first(redis, pool, worker):
    """The job that ended last is the first of the list."""
    ids = await submit(redis, pool, 3)
    for job_id in ids:
        await Producer(redis, pool).cancel(job_id)
    page = await Inspector(redis).find(pool, JobSelector(states=(JobState.CANCELLED,)))
    assert [job.job_id for job in page.jobs] == ids[::-1]


@pytest.mark.parametrize("state", UNENDED)
async def test_a_cancel_reaches_every_selected_job_and_no_other(redis, pool, worker, state):
    """All jobs with the tag are cancelled or asked to stop, over several steps; the jobs in other states stay."""
    ids = await jobs_in_every_state(redis, pool, worker)
    inspector = Inspector(redis)
    selection = inspector.select(pool, JobSelector(states=(state,), tags=("t",)))
    steps = [number async for number in selection.steps(Change.CANCEL, reason="superseded")]
    assert sum(steps) == EACH
    assert max(steps) <= 100
    for job_id in ids[state]:
        job = await inspector.job(pool, job_id)
        assert job.cancel_requested if state is JobState.RUNNING else (job.state, job.reason) == (ENDS[2], "superseded")
    with_children = {JobState.BLOCKED} if state is JobState.SCHEDULED else set()  # they waited for a cancelled job
    for other in {JobState.QUEUED, JobState.SCHEDULED, JobState.BLOCKED} - {state} - with_children:
        assert await inspector.select(pool, JobSelector(states=(other,))).count() == EACH, other


async def test_a_job_submitted_during_a_cancel_stays(redis, pool, worker):
    """A change covers the jobs that exist at its first step, so every change ends."""
    await submit(redis, pool)
    await worker.maintain()
    selection = Inspector(redis).select(pool, JobSelector(states=(JobState.QUEUED,)))
    step = await selection.step(Change.CANCEL)
    first_ms = int(step.cursor.partition(":")[0])
    while (await Inspector(redis).snapshot(pool)).taken_at_ms <= first_ms + 1:
        pass
    late = await submit(redis, pool, 2)  # of both routes: the second step is still before the last of them
    while step.cursor is not None:
        step = await selection.step(Change.CANCEL, cursor=step.cursor)
    assert {job.job_id for job in await Inspector(redis).jobs(pool, JobState.QUEUED)} == set(late)


async def test_a_replay_queues_the_selected_dead_letters_once(redis, pool, worker):
    """All of the kind are queued again with all their attempts; dead letters of the other kind stay."""
    await submit(redis, pool, 2 * EACH)
    leases = await worker.claim(2 * EACH)
    await worker.settle([Failed(job_id=one.job_id, token=one.token, error="x", retry=False) for one in leases])
    selection = Inspector(redis).select(pool, JobSelector(kinds=("a",)))
    assert sum([number async for number in selection.steps(Change.REPLAY)]) == EACH
    queued = await Inspector(redis).jobs(pool, JobState.QUEUED, limit=1_000)
    assert {(job.kind, job.attempt) for job in queued} == {("a", 0)}
    assert {job.kind for job in await Inspector(redis).jobs(pool, JobState.FAILED, limit=1_000)} == {"b"}


@pytest.mark.parametrize("state", ENDS)
async def test_a_purge_deletes_the_records_of_one_state(redis, pool, worker, state):
    """Records, results and idempotency keys are gone, and the list is empty; other ended jobs stay."""
    await jobs_in_every_state(redis, pool, worker)
    inspector = Inspector(redis)
    selection = inspector.select(pool, JobSelector(states=(state,)))
    assert sum([number async for number in selection.steps(Change.PURGE)]) == EACH
    assert await selection.count() == 0
    assert (await inspector.find(pool, JobSelector(states=(state,)))).jobs == ()
    for other in set(ENDS) - {state}:
        assert await inspector.select(pool, JobSelector(states=(other,))).count() == EACH


async def test_a_purge_spares_a_parent_with_children_to_release(redis, pool, worker):
    """A record whose result children still need is left to a later purge, and the children start with it."""
    (parent,) = await submit(redis, pool, 1)
    children = await submit(redis, pool, 250, after=(parent,))
    (lease,) = await worker.claim(1)
    await worker.settle([Succeeded(job_id=parent, token=lease.token, result={"a": 1})])
    selection = Inspector(redis).select(pool, JobSelector(states=(JobState.SUCCEEDED,)))
    assert sum([number async for number in selection.steps(Change.PURGE)]) in {0, 1}
    while (await Inspector(redis).snapshot(pool)).blocked:
        await worker.maintain()
    assert (await Inspector(redis).snapshot(pool)).queued == len(children)


async def test_a_retired_pool_replays_nothing(redis, pool, worker):
    """No worker would run the jobs."""
    await submit(redis, pool, 1)
    (lease,) = await worker.claim(1)
    await worker.settle([Failed(job_id=lease.job_id, token=lease.token, error="x", retry=False)])
    await Inspector(redis).configure(pool, PoolSettings(retired=True))
    with pytest.raises(RetiredPoolError):
        await Inspector(redis).select(pool, JobSelector()).step(Change.REPLAY)


@pytest.mark.parametrize(
    ("change", "states", "named"),
    [
        (Change.CANCEL, ("failed",), "failed"),
        (Change.REPLAY, ("queued",), "queued"),
        (Change.PURGE, ("running",), "runn"),
    ],
)
async def test_a_state_that_cannot_be_changed_so_is_refused(redis, pool, change, states, named):
    """The error names the state, and the states that can."""
    selector = JobSelector(states=tuple(map(JobState, states)))
    with pytest.raises(InvalidJobError, match=rf"(?s){named}.*use "):
        await Inspector(redis).select(pool, selector).step(change)


@pytest.mark.parametrize("cursor", ["x", "queued s:a:b 5", "failed dead (1-1", "1:1:scheduled due x", "9" * 40])
async def test_a_foreign_cursor_is_refused(redis, pool, worker, cursor):
    """No text of a caller reaches a script as a place."""
    inspector = Inspector(redis)
    with pytest.raises(InvalidJobError, match="cursor"):
        await inspector.find(pool, JobSelector(), cursor=cursor)
    with pytest.raises(InvalidJobError, match="cursor"):
        await inspector.select(pool, JobSelector(states=(JobState.QUEUED,))).step(Change.CANCEL, cursor=cursor)


async def test_the_index_of_ended_jobs_is_trimmed_after_the_retention(redis, pool, worker):
    """Maintenance drops entries whose records are gone, apart from the newest node of the stream."""
    await submit(redis, pool, 2_000)
    for _ in range(40):
        leases = await worker.claim(50)
        await worker.settle([Succeeded(job_id=one.job_id, token=one.token) for one in leases])
        for lease in leases:
            await redis.execute_command("XADD", f"ap:{{{pool}}}:ended:succeeded", "*", "jobs", lease.job_id)
    key = f"ap:{{{pool}}}:ended:succeeded"
    before = await redis.execute_command("XLEN", key)
    await redis.execute_command("HSET", f"ap:{{{pool}}}:counters", "clock_offset_ms", 2 * 86_400_000)
    await worker.maintain()
    assert await redis.execute_command("XLEN", key) < before / 5


@pytest.mark.parametrize("field", ["kinds", "routes", "tenants", "tags"])
@pytest.mark.parametrize("name", ["", "\ud800", 1, None])
def test_a_name_that_no_job_can_have_is_refused_before_it_is_sent(field, name):
    """An empty name, half a character and a number are errors of the request, not of Redis."""
    with pytest.raises(InvalidJobError, match=field):
        JobSelector(**{field: (name,)})


async def test_a_group_of_errors_has_the_same_jobs_in_python_and_in_redis(redis, pool, worker):
    """For random errors with numbers, ids, marks and long lines, each group counts exactly its errors."""
    parts = (
        "0x1f",
        "0xzz",
        "12.5",
        "7",
        "deadbeef-0123-45",
        "g0123456789ab",
        "0123456789ab",
        "…",
        "é",
        " ",
        "_",
        "-",
        "a",
        "%d",
    )
    rng = random.Random(16)
    errors = ["".join(rng.choices(parts, k=rng.randint(1, 6))) for _ in range(700)]
    errors += [f"{'é' * rng.randint(140, 155)}{'a' * rng.randint(0, 3)}7\n{n}" for n in range(150)]
    jobs = await submit(redis, pool, len(errors))
    error_of = dict(zip(jobs, errors, strict=True))
    leases = await worker.claim(len(errors))
    await worker.settle(
        [Failed(job_id=one.job_id, token=one.token, error=error_of[one.job_id], retry=False) for one in leases]
    )
    expected = Counter(group_of(error) for error in errors)
    inspector = Inspector(redis)
    found = {group: await inspector.select(pool, JobSelector(error_group=group)).count() for group in expected}
    assert found == expected
    assert len(expected) > 100
